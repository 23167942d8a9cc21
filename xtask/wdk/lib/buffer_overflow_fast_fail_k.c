/*
 * buffer_overflow_fast_fail_k.c: stack-cookie support for C code linked into a driver, for builds without the WDK.
 * The rule: a cookie that does not match stops the machine (fast fail); it is never ignored.
 */
typedef unsigned long long UINTPTR_T;

#define FAST_FAIL_STACK_COOKIE_CHECK_FAILURE 2
#define DEFAULT_SECURITY_COOKIE 0x00002B992DDFA232ULL

/* Not const: the image loader replaces the default with a random value. */
UINTPTR_T __security_cookie = DEFAULT_SECURITY_COOKIE;

void __security_check_cookie(UINTPTR_T cookie)
{
    if (cookie != __security_cookie) {
        __asm__ volatile("int $0x29" : : "c"(FAST_FAIL_STACK_COOKIE_CHECK_FAILURE) : "memory");
        __builtin_unreachable();
    }
}
