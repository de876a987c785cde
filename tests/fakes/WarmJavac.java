import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;

/** javac as a persistent worker: a real compiler that gains by staying warm. */
public class WarmJavac {
  private static final JavaCompiler COMPILER = ToolProvider.getSystemJavaCompiler();
  private static final int ARGUMENTS = 1 << 3 | 2;

  public static void main(String[] arguments) throws IOException {
    if (!Arrays.asList(arguments).contains("--persistent_worker")) {
      Path flags = Path.of(arguments[arguments.length - 1].substring(1));
      System.exit(compile(Files.readAllLines(flags), System.err));
    }
    InputStream in = new BufferedInputStream(System.in);
    for (int size = varint(in); size >= 0; size = varint(in)) {
      ByteArrayOutputStream said = new ByteArrayOutputStream();
      int exitCode = compile(arguments(in.readNBytes(size)), said);
      ByteArrayOutputStream answer = new ByteArrayOutputStream();
      answer.write(1 << 3);
      write(exitCode, answer);
      answer.write(2 << 3 | 2);
      write(said.size(), answer);
      said.writeTo(answer);
      write(answer.size(), System.out);
      answer.writeTo(System.out);
      System.out.flush();
    }
  }

  private static int compile(List<String> arguments, OutputStream said) {
    return COMPILER.run(null, said, said, arguments.toArray(new String[0]));
  }

  /** Those fields of a WorkRequest that have the arguments; all its fields are texts or numbers. */
  private static List<String> arguments(byte[] request) throws IOException {
    List<String> found = new ArrayList<>();
    InputStream in = new java.io.ByteArrayInputStream(request);
    for (int tag = varint(in); tag >= 0; tag = varint(in)) {
      int value = varint(in);
      if ((tag & 7) == 2) {
        byte[] data = in.readNBytes(value);
        if (tag == ARGUMENTS) {
          found.add(new String(data, StandardCharsets.UTF_8));
        }
      }
    }
    return found;
  }

  private static int varint(InputStream in) throws IOException {
    int value = 0;
    for (int shift = 0; ; shift += 7) {
      int next = in.read();
      if (next < 0) {
        return -1;
      }
      value |= (next & 0x7f) << shift;
      if (next < 0x80) {
        return value;
      }
    }
  }

  private static void write(int value, OutputStream out) throws IOException {
    for (; value >= 0x80; value >>>= 7) {
      out.write(value & 0x7f | 0x80);
    }
    out.write(value);
  }
}
