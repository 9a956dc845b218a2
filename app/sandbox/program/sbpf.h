/* The virtual machine as a C program sees it: system calls, serialized accounts, 128-bit products.
 *
 * A system call is a call of an ordinary eBPF helper whose number is murmur3_32(its name). The
 * machine allows unaligned access, so integers are read in place. It gives a function 512 bytes
 * of locals and 5 parameters; there is no signed division and no memcpy. */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define SYSCALL(id, name, parameters) \
    static u64 (*const name) parameters = (u64 (*) parameters) id

SYSCALL(0x207559bdu, sol_log_, (const char *text, u64 length));
SYSCALL(0x7317b434u, sol_log_data, (const void *slices, u64 count));
SYSCALL(0xd56b5fe9u, sol_get_clock_sysvar, (void *clock));
SYSCALL(0x9377323cu, sol_create_program_address,
        (const void *seeds, u64 count, const void *program, void *address));
SYSCALL(0xa22b9c85u, sol_invoke_signed_c,
        (const void *instruction, const void *infos, u64 count, const void *signers, u64 signed_by));

#define LOG(text) sol_log_(text, sizeof(text) - 1)

typedef struct { u64 w[4]; } key32;
typedef struct { const void *at; u64 length; } slice;
typedef struct { u64 slot, epoch_start, epoch, leader_epoch, unix_timestamp; } clock_sysvar;

typedef struct { const key32 *key; u8 writable, signer; } account_meta;
typedef struct {
    const key32 *program;
    const account_meta *metas;
    u64 metas_length;
    const u8 *data;
    u64 data_length;
} instruction;
typedef struct {
    const key32 *key;
    u64 *lamports;
    u64 data_length;
    u8 *data;
    const key32 *owner;
    u64 rent_epoch;
    u8 signer, writable, executable;
} account_info;

/* An account in the input: u8 repeat (0xff = first), signer, writable, executable, 4 spare bytes,
 * key 32, owner 32, lamports u64, data length u64, data, 10,240 spare, padding to 8, rent epoch. */
typedef u8 *account;

#define ACCOUNT_HEAD 88
#define ACCOUNT_SPARE 10240
#define FIRST_OCCURRENCE 0xff

static inline u64 get64(const u8 *at) { return *(const u64 *)at; }
static inline void put64(u8 *at, u64 value) { *(u64 *)at = value; }

static inline int is_signer(account a) { return a[1]; }
static inline int is_writable(account a) { return a[2]; }
static inline const key32 *key_of(account a) { return (const key32 *)(a + 8); }
static inline const key32 *owner_of(account a) { return (const key32 *)(a + 40); }
static inline u64 lamports_of(account a) { return get64(a + 72); }
static inline u64 length_of(account a) { return get64(a + 80); }
static inline u8 *data_of(account a) { return a + ACCOUNT_HEAD; }

static int same_key(const key32 *one, const key32 *other) {
    return one->w[0] == other->w[0] && one->w[1] == other->w[1] && one->w[2] == other->w[2] &&
           one->w[3] == other->w[3];
}

static u8 *after_account(account a) {
    u64 end = (u64)a + ACCOUNT_HEAD + length_of(a) + ACCOUNT_SPARE;
    return (u8 *)(((end + 7) & ~7ULL) + 8);
}

/* Point at the first `wanted` accounts of the input; give the place behind the last of them all. */
static u8 *read_accounts(u8 *input, account *accounts, u64 wanted) {
    u8 *at = input + 8;
    for (u64 i = 0; i < get64(input); i++) {
        int first = at[0] == FIRST_OCCURRENCE;
        if (i < wanted) accounts[i] = first ? at : accounts[at[0]];
        at = first ? after_account(at) : at + 8;
    }
    return at;
}

static void describe(account_info *info, account a) {
    info->key = key_of(a);
    info->lamports = (u64 *)(a + 72);
    info->data_length = length_of(a);
    info->data = data_of(a);
    info->owner = owner_of(a);
    info->rent_epoch = get64(after_account(a) - 8);
    info->signer = a[1];
    info->writable = a[2];
    info->executable = a[3];
}

typedef struct { u64 high, low; } u128;

static void multiply(u128 *product, u64 a, u64 b) {
    u64 a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
    u64 low = a0 * b0;
    u64 one = a1 * b0 + (low >> 32);
    u64 two = a0 * b1 + (one & 0xffffffff);
    product->low = (two << 32) | (low & 0xffffffff);
    product->high = a1 * b1 + (one >> 32) + (two >> 32);
}

/* Divide in place by a divisor that is not 0; give the remainder. */
static u64 divide(u128 *n, u64 divisor) {
    u64 rest = n->high % divisor, low = n->low;
    n->high /= divisor;
    if (rest == 0) {
        n->low = low / divisor;
        return low % divisor;
    }
    for (int i = 0; i < 64; i++) { /* restoring division, a bit at a time */
        u64 carry = rest >> 63;
        rest = (rest << 1) | (low >> 63);
        low <<= 1;
        if (carry || rest >= divisor) {
            rest -= divisor;
            low |= 1;
        }
    }
    n->low = low;
    return rest;
}

/* a x b / divisor, rounded down or up; 0 and nothing stored when it has no 64-bit answer. */
static int scale(u64 *result, u64 a, u64 b, u64 divisor, u64 round_up) {
    u128 n;
    if (divisor == 0) return 0;
    multiply(&n, a, b);
    u64 up = divide(&n, divisor) != 0 && round_up;
    if (n.high != 0 || n.low + up < n.low) return 0;
    *result = n.low + up;
    return 1;
}

/* Add in place; 0 when the sum does not fit. */
static int add(u64 *sum, u64 more) {
    *sum += more;
    return *sum >= more;
}
