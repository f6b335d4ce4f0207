"""What stands beside every answer, map and report."""

NOTICE = "Research use only. Not a medical device: not for diagnosis or treatment decisions."
