"""The audit of operators: every primitive of a twin against its definition, one by one."""
