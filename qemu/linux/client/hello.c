/*
 * A client as anyone writes one: the C library of the distribution, the sample TA.
 * Prints what came back; exit status 0 when all of it is right.
 */
#include <stdio.h>
#include <string.h>
#include <tee_client_api.h>

/* tas/uuids/src/lib.rs, `hello`. */
static const TEEC_UUID HELLO = {
	0x7a11e110, 0x0001, 0x4c6e, { 0x8d, 0x01, 0x5e, 0xc0, 0xde, 0x00, 0x00, 0x01 }
};
enum { CMD_INC = 0, CMD_REVERSE = 3, CMD_ECHO = 4 };

static int failures;

static void expect(const char *what, int right)
{
	printf("%s: %s\n", what, right ? "ok" : "WRONG");
	failures += !right;
}

static void values(TEEC_Session *session)
{
	TEEC_Operation op = { 0 };
	uint32_t origin;

	op.paramTypes = TEEC_PARAM_TYPES(TEEC_VALUE_INOUT, TEEC_NONE, TEEC_NONE, TEEC_NONE);
	op.params[0].value.a = 41;
	op.params[0].value.b = 0xffffffff;
	expect("values", TEEC_InvokeCommand(session, CMD_INC, &op, &origin) == TEEC_SUCCESS &&
			 op.params[0].value.a == 42 && op.params[0].value.b == 1);
}

static void temporary_memory(TEEC_Session *session)
{
	static const char text[] = "from the normal world and back";
	char back[sizeof(text)] = { 0 };
	char small[4];
	TEEC_Operation op = { 0 };
	uint32_t origin;

	op.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_TEMP_INPUT, TEEC_MEMREF_TEMP_OUTPUT,
					 TEEC_NONE, TEEC_NONE);
	op.params[0].tmpref.buffer = (void *)text;
	op.params[0].tmpref.size = sizeof(text);
	op.params[1].tmpref.buffer = back;
	op.params[1].tmpref.size = sizeof(back);
	expect("temporary memory",
	       TEEC_InvokeCommand(session, CMD_ECHO, &op, &origin) == TEEC_SUCCESS &&
	       op.params[1].tmpref.size == sizeof(text) && !memcmp(back, text, sizeof(text)));

	op.params[1].tmpref.buffer = small;
	op.params[1].tmpref.size = sizeof(small);
	expect("a buffer too small",
	       TEEC_InvokeCommand(session, CMD_ECHO, &op, &origin) == TEEC_ERROR_SHORT_BUFFER &&
	       op.params[1].tmpref.size == sizeof(text) && origin == TEEC_ORIGIN_TRUSTED_APP);
}

static void shared_memory(TEEC_Context *context, TEEC_Session *session)
{
	TEEC_SharedMemory memory = { .size = 3 * 4096 + 5, .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	TEEC_Operation op = { 0 };
	uint32_t origin;

	if (TEEC_AllocateSharedMemory(context, &memory) != TEEC_SUCCESS) {
		expect("shared memory", 0);
		return;
	}
	memset(memory.buffer, '.', memory.size);
	memcpy((char *)memory.buffer + 4094, "abcd", 4);
	op.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_PARTIAL_INOUT, TEEC_NONE, TEEC_NONE, TEEC_NONE);
	op.params[0].memref.parent = &memory;
	op.params[0].memref.offset = 4094;
	op.params[0].memref.size = 4;
	expect("part of a shared memory, across pages",
	       TEEC_InvokeCommand(session, CMD_REVERSE, &op, &origin) == TEEC_SUCCESS &&
	       !memcmp((char *)memory.buffer + 4093, ".DCBA.", 6));
	TEEC_ReleaseSharedMemory(&memory);
}

static void registered_memory(TEEC_Context *context, TEEC_Session *session)
{
	static char own[8192];
	TEEC_SharedMemory memory = { .buffer = own + 100, .size = 6000,
				     .flags = TEEC_MEM_INPUT | TEEC_MEM_OUTPUT };
	TEEC_Operation op = { 0 };
	uint32_t origin;

	memset(own, 'x', sizeof(own));
	own[100] = 'q';
	if (TEEC_RegisterSharedMemory(context, &memory) != TEEC_SUCCESS) {
		expect("registered memory", 0);
		return;
	}
	op.paramTypes = TEEC_PARAM_TYPES(TEEC_MEMREF_WHOLE, TEEC_NONE, TEEC_NONE, TEEC_NONE);
	op.params[0].memref.parent = &memory;
	op.params[0].memref.size = memory.size;
	expect("registered memory",
	       TEEC_InvokeCommand(session, CMD_REVERSE, &op, &origin) == TEEC_SUCCESS &&
	       own[100] == 'X' && own[99] == 'x' && own[6099] == 'Q' && own[6100] == 'x');
	TEEC_ReleaseSharedMemory(&memory);
}

int main(void)
{
	TEEC_Context context;
	TEEC_Session session;
	TEEC_Result result;
	uint32_t origin;

	result = TEEC_InitializeContext(NULL, &context);
	if (result != TEEC_SUCCESS) {
		printf("no context: %#x\n", result);
		return 1;
	}
	result = TEEC_OpenSession(&context, &session, &HELLO, TEEC_LOGIN_USER, NULL, NULL, &origin);
	if (result == TEEC_SUCCESS) {
		values(&session);
		temporary_memory(&session);
		shared_memory(&context, &session);
		registered_memory(&context, &session);
		TEEC_CloseSession(&session);
	} else {
		printf("no session: %#x from %u\n", result, origin);
		failures++;
	}
	TEEC_FinalizeContext(&context);
	return failures != 0;
}
