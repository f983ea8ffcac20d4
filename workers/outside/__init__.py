"""Other organisations' systems at the counter: what they ask in a person's name becomes a case like any other.

Two protocols, each a translation at the border and nothing more: Data Rights Protocol (an agent asks) and OpenDSR (a
controller asks its processor). Behind the border there are cases, one set of clocks, one way of confirming an address,
one proof. See docs/decisions/ for why it stands here.

``peers`` whom we know, as data · ``window`` what both protocols do with a request · ``drp`` and ``opendsr`` the routes
· ``courier`` tells of changes · ``processors`` asks others for us. What a protocol says and means is in
:mod:`workers.rules.drp` and :mod:`workers.rules.opendsr`; a request becomes a case in :mod:`workers.cases.outside`.
Source: rights-protocols; design § 1, § 6 "Counter".
"""
