"""Letters to people: what is said to them about their request, in their language, and the mail that carries it.

``facts`` what a letter is about · ``words`` the terms in each language · ``compose`` facts into a mail ·
``mailer`` a mail to the SMTP server. A letter is plain text; it is made of facts alone and looks nothing up.
Source: R17 to R23; GDPR Art. 12.
"""
