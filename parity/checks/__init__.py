"""What each rung of the ladder compares: functions from the bench to evidence.

Within a rung evidence comes in the order data (or gradients) flow, so that what fails first is
nearest to the cause.
"""
