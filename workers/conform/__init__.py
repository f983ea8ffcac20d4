"""``greffier conform``: whether a way of serving does its part, tried before a person depends on it.

| file | what |
| --- | --- |
| `description` | the office's file: what is tried, how, on which scratch store; what a certificate is bound to |
| `bench` | the scratch store, filled and counted by a program of the office's that is not the adapter |
| `group` | a controller with keys of its own: orders as they are, and as they must not be |
| `carriers` | how an order reaches what is tried and dies on the way: in this process, over HTTP, as a file |
| `trials` | what is tried; each says what did not hold, in words of its own |
| `report` | the graded report, and the certificate |

No real installation takes part: keys, orders, journal and store are made for the run.
Source: R25, R26, R28; P2, P5, P6, P7; design § 6.
"""
