#include "tun/steer.h"

#include <assert.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/rd.h"

_Static_assert(sizeof(struct steer_entry) == 8, "an array map in shared memory holds its values at multiples of 8");
_Static_assert(sizeof(_Atomic uint32_t) == 4, "the program reads an owner as a word");

#define ENTRIES6  ((size_t)1 << STEER_IP6_BITS)
#define SLOTS_MAX ((uint64_t)1 << 24)

/* Odd constants of multiplicative hashing; the program multiplies by the same. */
#define HASH_HIGH  0x9e3779b1u
#define HASH_BOTH  0x85ebca6bu
#define HASH_SHIFT (32 - STEER_IP6_BITS)

uint32_t steer_hash6(const uint8_t iid[8])
{
    struct rd in = rd_make(iid, 8);
    uint32_t high = 0, low = 0;
    bool whole = rd_u32(&in, &high) && rd_u32(&in, &low);
    assert(whole);
    return (high * HASH_HIGH + low) * HASH_BOTH >> HASH_SHIFT;
}

/* ---- the program ---- */

/*
 * The kernel runs it for each packet that it routes to the interface, with the packet from its IP header on, and takes
 * what it returns modulo the number of queues. A load behind the packet's end returns 0.
 *
 * Registers: R6 the packet, as BPF_LD | BPF_ABS wants it (which destroys R1 to R5 and loads R0, in host order); R7 a
 * word of the destination; R8 the index into a table. R10 is the stack's end.
 */
#define CODE_MAX 128

struct code {
    struct bpf_insn insn[CODE_MAX];
    unsigned n;
};

/* Returns the instruction's place, for jump_here(). */
static unsigned put(struct code *c, int op, unsigned dst, unsigned src, int off, uint32_t imm)
{
    assert(c->n < CODE_MAX);
    c->insn[c->n] = (struct bpf_insn){ .code = (uint8_t)op,
                                       .dst_reg = (uint8_t)(dst & 15),
                                       .src_reg = (uint8_t)(src & 15),
                                       .off = (int16_t)off,
                                       .imm = (int32_t)imm };
    return c->n++;
}

static void jump_here(struct code *c, unsigned from)
{
    c->insn[from].off = (int16_t)(c->n - from - 1);
}

static void put_return(struct code *c, uint32_t value)
{
    put(c, BPF_ALU | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
    put(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* R8 is the index: returns the queue in the table; the index where there is none, which spreads them. */
static void put_lookup(struct code *c, int map)
{
    put(c, BPF_STX | BPF_MEM | BPF_W, BPF_REG_10, BPF_REG_8, -4, 0);
    put(c, BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, (uint32_t)map);
    put(c, 0, 0, 0, 0, 0); /* the upper half */
    put(c, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0);
    put(c, BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, (uint32_t)-4);
    put(c, BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
    unsigned outside = put(c, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 0, 0);
    put(c, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_0, BPF_REG_0, 0, 0);
    unsigned nobody = put(c, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 0, 0);
    put(c, BPF_ALU | BPF_SUB | BPF_K, BPF_REG_0, 0, 0, 1);
    put(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    jump_here(c, outside);
    jump_here(c, nobody);
    put(c, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_0, BPF_REG_8, 0, 0);
    put(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static uint32_t net_size(const struct tun_net4 *net)
{
    return (uint32_t)1 << (32 - net->prefix);
}

/* The destination's slot: its place in the first network that it is in, behind those before. */
static void put_ip4(struct code *c, int map, const struct tun_net4 *nets, size_t n)
{
    unsigned found[STEER_NETS_MAX];
    uint32_t first = 0;
    put(c, BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 16); /* RFC 791 3.1 */
    put(c, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_7, BPF_REG_0, 0, 0);
    for (size_t i = 0; i < n; i++) {
        put(c, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_8, BPF_REG_7, 0, 0);
        put(c, BPF_ALU | BPF_SUB | BPF_K, BPF_REG_8, 0, 0, nets[i].base);
        unsigned outside = put(c, BPF_JMP | BPF_JGE | BPF_K, BPF_REG_8, 0, 0, net_size(&nets[i]));
        put(c, BPF_ALU | BPF_ADD | BPF_K, BPF_REG_8, 0, 0, first);
        found[i] = put(c, BPF_JMP | BPF_JA, 0, 0, 0, 0);
        jump_here(c, outside);
        first += net_size(&nets[i]);
    }
    put_return(c, 0);
    for (size_t i = 0; i < n; i++)
        jump_here(c, found[i]);
    put_lookup(c, map);
}

/* Link-local destinations by their interface identifier, as steer_hash6(). */
static void put_ip6(struct code *c, int map)
{
    put(c, BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 24); /* RFC 8200 3 */
    unsigned elsewhere = put(c, BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_0, 0, 0, 0xfe800000);
    put(c, BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 28);
    unsigned elsewhere_too = put(c, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_0, 0, 0, 0);
    put(c, BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 32);
    put(c, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_7, BPF_REG_0, 0, 0);
    put(c, BPF_ALU | BPF_MUL | BPF_K, BPF_REG_7, 0, 0, HASH_HIGH);
    put(c, BPF_LD | BPF_ABS | BPF_W, 0, 0, 0, 36);
    put(c, BPF_ALU | BPF_ADD | BPF_X, BPF_REG_7, BPF_REG_0, 0, 0);
    put(c, BPF_ALU | BPF_MUL | BPF_K, BPF_REG_7, 0, 0, HASH_BOTH);
    put(c, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_7, 0, 0, HASH_SHIFT);
    put(c, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_8, BPF_REG_7, 0, 0);
    put_lookup(c, map);
    jump_here(c, elsewhere);
    jump_here(c, elsewhere_too);
    put_return(c, 0);
}

static void put_program(struct code *c, const struct steer *s, const struct tun_net4 *nets, size_t n)
{
    put(c, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0);
    put(c, BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, 0);
    put(c, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_0, 0, 0, 4);
    unsigned ip4 = put(c, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 0, 4);
    unsigned ip6 = put(c, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 0, 6);
    put_return(c, 0);
    jump_here(c, ip4);
    put_ip4(c, s->map4, nets, n);
    jump_here(c, ip6);
    put_ip6(c, s->map6);
}

/* ---- the monitor's part ---- */

static int bpf(int cmd, union bpf_attr *attr)
{
    return (int)syscall(SYS_bpf, cmd, attr, sizeof *attr);
}

static int map_new(size_t entries)
{
    union bpf_attr attr = { 0 };
    attr.map_type = BPF_MAP_TYPE_ARRAY;
    attr.key_size = sizeof(uint32_t);
    attr.value_size = sizeof(struct steer_entry);
    attr.max_entries = (uint32_t)entries;
    attr.map_flags = BPF_F_MMAPABLE;
    return bpf(BPF_MAP_CREATE, &attr);
}

static int program_load(const struct code *c)
{
    union bpf_attr attr = { 0 };
    attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
    attr.insns = (uintptr_t)c->insn;
    attr.insn_cnt = c->n;
    attr.license = (uintptr_t) "Apache-2.0";
    return bpf(BPF_PROG_LOAD, &attr);
}

static bool slots_of(const struct tun_net4 *nets, size_t n, size_t *slots)
{
    uint64_t sum = 0;
    if (!n || n > STEER_NETS_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (nets[i].prefix < 8 || nets[i].prefix > 32)
            return false;
        sum += net_size(&nets[i]);
    }
    *slots = (size_t)sum;
    return sum <= SLOTS_MAX;
}

int steer_open(struct steer *s, int tun_fd, const struct tun_net4 *nets, size_t n, char *err, size_t cap)
{
    struct code code = { .n = 0 };
    const char *step = "the networks are too many or too large for the tables";
    size_t slots;
    *s = (struct steer){ -1, -1, -1 };
    errno = 0;
    if (!slots_of(nets, n, &slots))
        goto fail;
    step = "cannot make eBPF tables";
    if ((s->map4 = map_new(slots)) < 0 || (s->map6 = map_new(ENTRIES6)) < 0)
        goto fail;
    put_program(&code, s, nets, n);
    step = "cannot load an eBPF program";
    if ((s->program = program_load(&code)) < 0)
        goto fail;
    step = "the interface does not take an eBPF program";
    if (ioctl(tun_fd, TUNSETSTEERINGEBPF, &s->program) < 0)
        goto fail;
    return 0;
fail:
    snprintf(err, cap, "%s%s%s", step, errno ? ": " : "", errno ? strerror(errno) : "");
    steer_close(s);
    return ERR_SYSTEM;
}

void steer_close(struct steer *s)
{
    int fds[] = { s->program, s->map4, s->map6 };
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    *s = (struct steer){ -1, -1, -1 };
}

/* ---- the engine's part ---- */

static struct steer_entry *table_map(int map, size_t entries)
{
    void *at = mmap(NULL, entries * sizeof(struct steer_entry), PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    return at == MAP_FAILED ? NULL : at;
}

int steer_map(struct steer_tables *t, int map4, int map6, size_t n4, unsigned queues)
{
    *t = (struct steer_tables){
        .ip4 = table_map(map4, n4), .ip6 = table_map(map6, ENTRIES6), .n4 = n4, .queues = queues
    };
    if (t->ip4 && t->ip6)
        return 0;
    steer_unmap(t);
    return ERR_SYSTEM;
}

void steer_unmap(struct steer_tables *t)
{
    if (t->ip4)
        munmap((void *)t->ip4, t->n4 * sizeof *t->ip4);
    if (t->ip6)
        munmap((void *)t->ip6, ENTRIES6 * sizeof *t->ip6);
    *t = (struct steer_tables){ 0 };
}

/* What the entry with this index says for a call of the worker. */
static uint32_t owner_of(const struct steer_tables *t, uint32_t index, int worker)
{
    return worker < 0 ? 0 : (uint32_t)worker * t->queues + steer_queue(index, t->queues) + 1;
}

void steer_set4(struct steer_tables *t, uint32_t slot, int worker)
{
    if (t->ip4 && slot < t->n4)
        atomic_store_explicit(&t->ip4[slot].owner, owner_of(t, slot, worker), memory_order_relaxed);
}

void steer_set6(struct steer_tables *t, const uint8_t iid[8], int worker)
{
    uint32_t index = steer_hash6(iid);
    if (t->ip6)
        atomic_store_explicit(&t->ip6[index].owner, owner_of(t, index, worker), memory_order_relaxed);
}

void steer_drop6(struct steer_tables *t, const uint8_t iid[8], int worker)
{
    uint32_t index = steer_hash6(iid), was;
    if (!t->ip6)
        return;
    was = owner_of(t, index, worker);
    atomic_compare_exchange_strong_explicit(&t->ip6[index].owner, &was, 0, memory_order_relaxed, memory_order_relaxed);
}
