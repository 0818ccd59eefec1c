#!/bin/sh
# Runs a Python program with the interpreter of KVX_PYTHON, else with the first that has NumPy (python3 of the PATH, the system's).
# Exit status 77 where there is none.
for python in ${KVX_PYTHON:-python3 /usr/bin/python3}; do
  if "$python" -c 'import numpy' 2>/dev/null; then exec "$python" -B "$@"; fi
done
echo "skipped: no Python with NumPy (${KVX_PYTHON:-python3, /usr/bin/python3})"
exit 77
