"""The door: the public way in, over plain HTTP. It holds no database credential and cannot open what it posts.

::

    request ─▶ guard (origin, key, network) ─▶ bodies (limits, encodings) ─▶ intake (shapes, rules)
            ─▶ gather (one enqueue in flight) ─▶ Redis's disk ─▶ 202

Source: R27; design § 6 "Door".
"""
