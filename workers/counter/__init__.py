"""The counter: what a person reached by a mailed link may see or fetch. Public, and narrow.

It opens **evidence** and **keys** with credentials of its own, whose only key opens access packages, and knows a person
by a token alone. Source: R17; design § 1, § 6 "Counter"; reliability § 8.7.
"""
