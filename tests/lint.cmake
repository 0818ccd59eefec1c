# Tests of this area: kvx_test(...) and add_test(...) lines.
