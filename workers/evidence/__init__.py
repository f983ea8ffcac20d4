"""Evidence: facts are noted in the ledger, handed out in one file, and checked by anyone, without this system.

| file | what it does |
| --- | --- |
| `notes` | notes facts about cases, many at once in one write |
| `keeping` | gives entries their place and signs heads, for as long as a worker runs |
| `facts` | what a bundle needs to know of a case, wherever cases are kept |
| `bundle` | the shape of the file |
| `export` | makes it |
| `trusted` | whose keys the reader believes |
| `verify`, `story`, `standing` | checks it: no store, no network, only `schemas` and `workers.rules` |
| `findings` | what a check finds |
| `head_file` | signed heads, to be kept elsewhere |
| `wording` | says what the check found, as a table and in sentences |

Source: P12; R30.
"""
