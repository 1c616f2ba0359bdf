"""The audit of operators: every primitive of a twin against the reference, one by one."""
