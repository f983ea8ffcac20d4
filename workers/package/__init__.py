"""The access package: what every store of the group holds about a person, as one ZIP that person can read and reuse.

``content`` what goes in · ``sources`` the parts that the register knows · ``archive`` the ZIP and its JSON ·
``sheets`` CSV that no spreadsheet runs · ``page`` the one HTML file · ``labels`` its words. Nothing here reads a store.
Source: R17; GDPR Arts 12(1), 12(3), 15, 20(1); EDPB 01/2022 §§ 32, 148-152; gdpr-clock-and-rights § 4.
"""
