"""Compiles for build tools that do not know the protocol: reapi-cc and `reapi-cli compile`."""
