"""A stand-in for rules_cc: Bazel's built-in C++ rules under the names that rules_cc gives them."""

cc_binary = native.cc_binary
cc_import = native.cc_import
cc_library = native.cc_library
cc_proto_library = native.cc_proto_library
cc_test = native.cc_test
cc_toolchain = native.cc_toolchain
cc_toolchain_suite = native.cc_toolchain_suite
fdo_prefetch_hints = native.fdo_prefetch_hints
fdo_profile = native.fdo_profile
objc_import = native.objc_import
objc_library = native.objc_library

def _no_cc_flags_impl(_ctx):
    return [platform_common.TemplateVariableInfo({"CC_FLAGS": ""})]

_no_cc_flags = rule(implementation = _no_cc_flags_impl)

def cc_flags_supplier(name):
    """Defines the make variable CC_FLAGS, always empty."""
    _no_cc_flags(name = name)

def compiler_flag(name):
    """A condition on the compiler that never holds: the detected toolchain takes its default."""
    native.config_setting(
        name = name,
        values = {"define": "compiler_flag=never"},
    )
