"""Rights requests from opening to proof: everything that happens to a case.

| file | what it does |
| --- | --- |
| `desk` | what all of it may reach |
| `opening` | a request becomes a case, its address is confirmed |
| `engine` | takes the next step of a case until there is none |
| `serving` | tasks for every store, orders in batches, through the transfer gate |
| `own_store` | the controller's own store, asked and signed for like any other |
| `receiving` | receipts: checked, kept, applied to their tasks |
| `answering` | the letter, the access package, the end |
| `delivering` | the one download of an access package |
| `entering` | staff enter what came by e-mail or letter |
| `deciding` | what only a person may decide: extend, refuse, hold, identity, doubt |
| `dates` | a case's dates, reckoned anew |

Source: design § 5.
"""
