"""AWS X-Ray: segments by way of the daemon or the API, and the sampling rules of the console.

    exporter -> segments, subsegments -> packing, trimming -> datagrams, or api
                what is found out between deliveries, in the same thread: surroundings, central

The rest are the parts of these: documents (what X-Ray takes) and its limits, causes, flags, downstream (calls
to others); burst, client; plugins; control_plane and who carries its calls.
"""
