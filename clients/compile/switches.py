"""The -f options that change nothing but the code, its diagnostics and its dialect.

They read and write no file and need nothing of the machine. An option that is not here is not
known: a release newer than these tables may have given it any meaning.
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FAMILIES = tuple(
    _names("""
    align- analyzer- asynchronous- branch- builtin- c++- call-saved- call-used- cf-protection char8
    coalesce- complex- cond- constexpr- cprop- cse- cx- diagnostics-show- dwarf- early- eliminate-
    emit- extended- ext- finite- fixed- float- fold- force- gcse gnu graphite harden hoist- honor-
    if-conversion implicit-template inline inhibit- instrument-function ipa- ira- isolate- ivopts
    keep- live-range- loop- lra- math- merge- modulo-sched move-loop- ms- new- objc- omit- openacc
    openmp optimize- partial- peel- peephole plt pretty- reciprocal- reg- register- relaxed- rename-
    reorder- reroll- rounding- rtti sanitize sched- schedule- section-anchors sel-sched- selective-
    semantic- shrink-wrap signal sized- slp- spell- split- ssa- stack- strict- strong- swift-
    template- trapping- tree- trivial- unique- unroll unsafe- unswitch- unwind- use-cxa-
    use-init-array use-linker-plugin var-tracking vect vect- version- visibility- vt vtable- wrapv
    xray- zero-
    """)
)
"""Prefixes of names whose members are all harmless, but for those that `options` names itself."""

_NAMES = _names("""
    PIC PIE aapcs-bitfield-load aapcs-bitfield-width abi-version access-control addrsig
    aggressive-loop-optimizations aligned-allocation aligned-new allocation-dce
    allow-editor-placeholders allow-store-data-races altivec analyzer ansi-escape-codes apple-kext
    apple-pragma-pack application-extension approx-func asm asm-blocks associative-math
    assume-sane-operator-new async-exceptions auto-inc-dec autolink avoid-store-forwarding
    basic-block-sections bit-int-saturate bit-tests blocks borland-extensions bounds-safety builtin
    caller-saves canonical-system-headers caret-diagnostics check-new code-hoisting coroutines
    coroutines-ts combine-stack-adjustments common compare-elim complete-member-pointers concepts
    concepts-ts conserve-stack constant-cfstrings contracts convergent-functions crossjumping
    cxx-exceptions data-sections dce debug-info-for-profiling debug-macro debug-types-section
    declone-ctor-dtor declspec defer-pop delayed-branch delayed-template-parsing
    delete-dead-exceptions delete-null-pointer-checks devirtualize devirtualize-at-ltrans
    devirtualize-speculatively diagnostics-fixit-info diagnostics-generate-patch
    diagnostics-parseable-fixits diagnostics-print-source-range-info digraphs
    direct-access-external-data discard-value-names dollars-in-identifiers
    double-square-bracket-attributes dse dwarf2-cfi-asm elide-constructors elide-type emulated-tls
    enable-matrix enforce-eh-specs escaping-block-tail-calls exceptions expensive-optimizations
    extend-variable-liveness experimental-library experimental-new-pass-manager extern-tls-init
    fast-math fat-lto-objects fine-grained-bitfield-accesses for-scope forward-propagate
    freestanding friend-injection fp-int-builtin-inexact function-cse function-sections global-isel
    guess-branch-probability handle-exceptions hosted ident implement-inlines ignore-exceptions
    implicit-constexpr indirect-inlining integrated-as integrated-cc1 jump-tables
    late-combine-instructions lax-vector-conversions leading-underscore legacy-pass-manager
    lifetime-dse limit-function-alignment live-patching local-ivars lto lto-odr-type-merging
    malloc-dce max-type-align nested-functions next-runtime nil-receivers non-call-exceptions
    nonansi-builtins nothrow-opt operator-names opt-info pack-struct pascal-strings
    pcc-struct-return permissive pic pie plan9-extensions predictive-commoning prefetch-loop-arrays
    printf-return-value profile-abs-path profile-correction profile-partial-training
    profile-reorder-functions profile-values protect-parens pseudo-probe-for-profiling ree regmove
    rerun-cse-after-loop reschedule-modulo-scheduled-loops retain-comments-from-system-headers ropi
    rwpi save-main-variables seh-exceptions short-enums short-wchar show-column show-source-location
    signed-bitfields signed-char signed-zeros single-precision-constant sjlj-exceptions
    speculatively-call-stored-functions standalone-debug stdarg-opt store-merging strength-reduce
    strict-aliasing strict-enums struct-path-tbaa sync-libcalls temp-file thread-jumps
    threadsafe-statics toplevel-reorder tracer track-macro-expansion trampolines trapv trigraphs
    unit-at-a-time unsigned-bitfields unsigned-char variable-expansion-in-unroller verbose-asm
    vectorize visibility vpt virtual-function-elimination wasm-exceptions web weak whole-program
    whole-program-vtables writable-strings
    """)

_NAMES_WITH_VALUE = _names("""
    abi-compat-version abi-version align-functions align-jumps align-labels align-loops aligned-new
    asan-shadow-offset basic-block-sections bit-int-max-width bracket-depth c++-abi cf-protection
    cf-runtime-abi clang-abi-compat concepts-diagnostics-depth const-string-class
    constant-string-class constexpr-backtrace-limit constexpr-cache-depth constexpr-depth
    constexpr-loop-limit constexpr-ops-limit constexpr-steps debug-default-version denormal-fp-math
    diagnostics-column-origin diagnostics-column-unit diagnostics-escape-format
    diagnostics-minimum-margin-width diagnostics-path-format diagnostics-show-category
    diagnostics-show-location diagnostics-text-art-charset diagnostics-urls
    emit-struct-debug-detailed error-limit exec-charset excess-precision extended-identifiers
    fp-contract fp-exception-behavior fp-model gnuc-version hardened inline-limit input-charset
    instrument-functions-exclude-function-list ira-algorithm ira-region lax-vector-conversions
    lifetime-dse live-patching lto lto-compression-level lto-partition macro-backtrace-limit
    max-errors max-include-depth max-tokens max-type-align message-length ms-compatibility-version
    min-function-alignment ms-memptr-rep msc-version new-alignment objc-abi-version objc-runtime
    objc-std openmp openmp-version operator-arrow-depth pack-struct patchable-function-entry
    permitted-flt-eval-methods profile-reproducible profile-update reorder-blocks-algorithm sanitize
    sanitize-address-destructor sanitize-address-field-padding sanitize-address-use-after-return
    sanitize-coverage sanitize-hwaddress-abi sanitize-memory-track-origins sanitize-recover
    sanitize-trap sanitize-undefined-strip-path-components sched-stalled-insns
    sched-stalled-insns-dep sched-verbose show-overloads simd-cost-model spell-checking-limit
    sso-struct stack-check stack-limit-register stack-limit-symbol stack-reuse strict-flex-arrays
    strong-eval-order strub swift-async-fp symbol-partition tabstop template-backtrace-limit
    template-depth tls-model track-macro-expansion tree-parallelize-loops trivial-auto-var-init
    trivial-auto-var-init-stop-after use-ld vect-cost-model veclib visibility visibility-dllexport
    vtable-verify wide-exec-charset xray-function-groups xray-instruction-threshold xray-modes
    zero-call-used-regs
    """)


def is_harmless_switch(argument: str) -> bool:
    """Is `-fNAME`, `-fno-NAME` or `-fNAME=VALUE` of the tables; a path is no such value."""
    name, equals, value = argument.removeprefix("-f").partition("=")
    name = name.removeprefix("no-")
    if equals:
        return name in _NAMES_WITH_VALUE and "/" not in value
    return name in _NAMES or name.startswith(_FAMILIES)
