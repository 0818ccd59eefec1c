# Tests of the CUDA side; each is skipped where there is no device.
