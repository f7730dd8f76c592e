"""AWS X-Ray: segments by way of the daemon or the API, and the sampling rules of the console."""
