/* The starter's assembly. */

/* ==== arch/x86_64/entry.S ==== */

/*
 * #DF.  To do: build the frame on the emergency stack, make sure that GS is the kernel's (a double
 * fault may come at any instruction; paranoid_entry shows how to tell), and call
 * x86_double_fault(frame), which does not return.
 */
FUNC(double_fault_entry)
	jmp trap_entry
END(double_fault_entry)
