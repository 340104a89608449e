/* The smallest program: what the exec rows start. */
int
main(void)
{
	return 0;
}
