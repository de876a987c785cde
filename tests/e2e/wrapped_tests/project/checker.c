/* Checks that all numbers of FILE or @FILE are even; 77 is "skipped" for Meson and CTest. */
#include "half.h"
#include <stdio.h>
#include <time.h>

int main(int count, char **arguments)
{
    int number;
    if (count < 2)
        return 77;
    FILE *file = fopen(arguments[1] + (arguments[1][0] == '@'), "r");
    if (!file)
        return 2;
    while (fscanf(file, "%d", &number) == 1)
        if (2 * half(number) != number)
            return 1;
    fclose(file);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    printf("ran at %lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
    return 0;
}
