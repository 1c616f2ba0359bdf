"""What each check of the suite compares: functions from the context to evidence.

Within a check evidence comes in the order data (or gradients) flow, so that what fails first is
nearest to the cause.
"""
