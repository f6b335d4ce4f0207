/* Hides AVX-512, AVX-VNNI and AMX from a program: each CPUID instruction faults, and is answered without their bits.

   LD_PRELOAD=hide_avx512.so program

   Needs Linux and a CPU with CPUID faulting. Threads and forked processes inherit the fault; exec loads this anew. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

/* Of leaf 7, AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; 4VNNIW, 4FMAPS,
   VP2INTERSECT, AMX-BF16, FP16, AMX-TILE, AMX-INT8. Of its subleaf 1, AVX-VNNI, BF16, AMX-FP16, and AVX-VNNI-INT8,
   AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10. */
#define EBX_7 (1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31)
#define ECX_7 (1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14)
#define EDX_7 (1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25)
#define EAX_7_1 (1u << 4 | 1u << 5 | 1u << 21)
#define EDX_7_1 (1u << 4 | 1u << 5 | 1u << 8 | 1u << 10 | 1u << 19)

static struct sigaction others;

static long allow(unsigned long allowed) {
    return syscall(SYS_arch_prctl, ARCH_SET_CPUID, allowed);
}

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    if (info->si_code != SI_KERNEL || code[0] != 0x0F || code[1] != 0xA2) { /* somebody else's fault */
        sigaction(SIGSEGV, &others, NULL);
        return;
    }
    uint32_t leaf = registers[REG_RAX], part = registers[REG_RCX], a, b, c, d;
    allow(1);
    __cpuid_count(leaf, part, a, b, c, d);
    allow(0);
    if (leaf == 7 && part == 0) {
        b &= ~EBX_7;
        c &= ~ECX_7;
        d &= ~EDX_7;
    } else if (leaf == 7 && part == 1) {
        a &= ~EAX_7_1;
        d &= ~EDX_7_1;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    if (sigaction(SIGSEGV, &action, &others) || allow(0)) {
        static const char message[] = "hide_avx512: this CPU or kernel lets no program fault on CPUID\n";
        if (write(2, message, sizeof message - 1) < 0)
            _exit(71);
        _exit(70);
    }
}
