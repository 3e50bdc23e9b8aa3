"""Images behind links: fetched with care for their owners and without trust in what comes back."""
