"""Where a request is that takes too long: in its thread, its task or its greenlet, or held by native code."""
