/* A constant-product market with the instructions, accounts, fees and errors of Raydium CPMM.
 *
 * It stands in for the real program on the sandbox chain and knows its two swaps only. Formulas and
 * layouts follow raydium-io/raydium-cp-swap, programs/cp-swap/src. Amounts are base units, rates
 * millionths. Mints with extensions (transfer fees among them) are refused. */

#include "sbpf.h"
#include "layout.h"

typedef struct { u64 trade, protocol, fund, creator; } fee_rates;
typedef struct {
    u64 reserve_in, reserve_out;
    u64 amount_in, amount_out;
    u64 trade_fee, protocol_fee, fund_fee, creator_fee;
    u64 side_in;             /* 0 or 1: which of the pool's tokens is paid in */
    u64 creator_fee_on_input;
    u64 by_input;            /* the amount in is given, not the amount out */
} trade;

/* ------------------------------------------------------------------------------- accounts */

static u64 check_state(account a, const key32 *program, u64 tag, u64 size) {
    if (same_key(owner_of(a), &SYSTEM) && lamports_of(a) == 0) return AccountNotInitialized;
    if (!same_key(owner_of(a), program)) return AccountOwnedByWrongProgram;
    if (length_of(a) < 8 || get64(data_of(a)) != tag) return AccountDiscriminatorMismatch;
    return length_of(a) == size ? OK : AccountDidNotDeserialize;
}

static int is_token_program(const key32 *key) {
    return same_key(key, &SPL_TOKEN) || same_key(key, &TOKEN_2022);
}

/* Check a mint or a token account. */
static u64 check_token(account a, u64 size) {
    if (same_key(owner_of(a), &SYSTEM) && lamports_of(a) == 0) return AccountNotInitialized;
    if (!is_token_program(owner_of(a))) return AccountOwnedByWrongProgram;
    return length_of(a) >= size ? OK : INVALID_ACCOUNT_DATA;
}

/* Check what each account is, in their order. */
static u64 check_kinds(account *a, const key32 *program) {
    u64 error = is_signer(a[PAYER]) ? OK : AccountNotSigner;
    if (!error) error = check_state(a[CONFIG], program, CONFIG_TAG, CONFIG_SIZE);
    if (!error) error = check_state(a[POOL], program, POOL_TAG, POOL_SIZE);
    for (int i = USER_IN; !error && i <= VAULT_OUT; i++) error = check_token(a[i], TOKEN_SIZE);
    for (int i = PROGRAM_IN; !error && i <= PROGRAM_OUT; i++)
        error = is_token_program(key_of(a[i])) ? OK : InvalidProgramId;
    for (int i = MINT_IN; !error && i <= MINT_OUT; i++) error = check_token(a[i], MINT_SIZE);
    if (!error) error = check_state(a[OBSERVATION], program, OBSERVATION_TAG, OBSERVATION_SIZE);
    return error;
}

static const key32 *pool_key(account *a, u64 offset) {
    return (const key32 *)(data_of(a[POOL]) + offset);
}

static int is_vault(account *a, int i) {
    return same_key(key_of(a[i]), pool_key(a, POOL_VAULT0)) ||
           same_key(key_of(a[i]), pool_key(a, POOL_VAULT1));
}

static int is_authority(account *a, const key32 *program) {
    key32 authority;
    slice seeds[2];
    seeds[0].at = AUTHORITY_SEED;
    seeds[0].length = sizeof AUTHORITY_SEED - 1;
    seeds[1].at = data_of(a[POOL]) + POOL_AUTH_BUMP;
    seeds[1].length = 1;
    if (sol_create_program_address(seeds, 2, program, &authority) != 0) return 0;
    return same_key(key_of(a[AUTHORITY]), &authority);
}

/* Check how the accounts belong together. */
static u64 check_ties(account *a, const key32 *program) {
    if (!is_authority(a, program)) return ConstraintSeeds;
    if (!same_key(key_of(a[CONFIG]), pool_key(a, POOL_CONFIG))) return ConstraintAddress;
    for (int i = POOL; i <= VAULT_OUT; i++)
        if (!is_writable(a[i])) return ConstraintMut;
    if (!is_vault(a, VAULT_IN) || !is_vault(a, VAULT_OUT)) return ConstraintRaw;
    for (int i = 0; i < 2; i++) {
        const key32 *mint = (const key32 *)(data_of(a[VAULT_IN + i]) + TOKEN_MINT);
        if (!same_key(key_of(a[MINT_IN + i]), mint)) return ConstraintAddress;
    }
    if (!is_writable(a[OBSERVATION])) return ConstraintMut;
    if (!same_key(key_of(a[OBSERVATION]), pool_key(a, POOL_OBSERVATION))) return ConstraintAddress;
    return OK;
}

/* ----------------------------------------------------------------------------------- terms */

/* Read the balance of a vault less the fees in it that are owed to others; 0 when it has less. */
static int free_balance(account *a, int vault, u64 side, u64 *balance) {
    const u8 *pool = data_of(a[POOL]) + 8 * side;
    u64 owed = get64(pool + POOL_PROTOCOL_FEES);
    u64 held = get64(data_of(a[vault]) + TOKEN_AMOUNT);
    if (!add(&owed, get64(pool + POOL_FUND_FEES))) return 0;
    if (!add(&owed, get64(pool + POOL_CREATOR_FEES))) return 0;
    *balance = held - owed;
    return held > owed;
}

static u64 read_terms(account *a, trade *t, fee_rates *rates) {
    const u8 *pool = data_of(a[POOL]), *config = data_of(a[CONFIG]);
    if (same_key(key_of(a[VAULT_IN]), key_of(a[VAULT_OUT]))) return InvalidVault;
    t->side_in = same_key(key_of(a[VAULT_IN]), pool_key(a, POOL_VAULT1));
    if (!free_balance(a, VAULT_IN, t->side_in, &t->reserve_in)) return InsufficientVault;
    if (!free_balance(a, VAULT_OUT, 1 - t->side_in, &t->reserve_out)) return InsufficientVault;
    if (pool[POOL_CREATOR_FEE_ON] > FEE_ON_TOKEN1) return InvalidFeeModel;
    u64 own_side = t->side_in == 0 ? FEE_ON_TOKEN0 : FEE_ON_TOKEN1;
    t->creator_fee_on_input =
        pool[POOL_CREATOR_FEE_ON] == FEE_ON_BOTH || pool[POOL_CREATOR_FEE_ON] == own_side;
    rates->trade = get64(config + CONFIG_TRADE);
    rates->protocol = get64(config + CONFIG_PROTOCOL);
    rates->fund = get64(config + CONFIG_FUND);
    rates->creator = pool[POOL_CREATOR_ENABLED] ? get64(config + CONFIG_CREATOR) : 0;
    return rates->trade < MILLION && rates->creator < MILLION ? OK : InvalidFeeModel;
}

/* ----------------------------------------------------------------------------------- price */

static u64 input_rate(const trade *t, const fee_rates *rates) {
    return rates->trade + (t->creator_fee_on_input ? rates->creator : 0);
}

/* Divide the fee taken from the input; 0 when the rates allow no division. */
static int split_fee(trade *t, const fee_rates *rates, u64 total) {
    u64 creator = 0;
    if (t->creator_fee_on_input) {
        if (!scale(&creator, total, rates->creator, input_rate(t, rates), 0)) return 0;
        t->creator_fee = creator;
    }
    t->trade_fee = total - creator;
    return scale(&t->protocol_fee, t->trade_fee, rates->protocol, MILLION, 0) &&
           scale(&t->fund_fee, t->trade_fee, rates->fund, MILLION, 0);
}

/* Find the amount out; 0 when there is no answer. */
static int price_exact_in(trade *t, const fee_rates *rates) {
    u64 fee, net, divisor = t->reserve_in;
    if (!scale(&fee, t->amount_in, input_rate(t, rates), MILLION, 1)) return 0;
    if (fee > t->amount_in || !split_fee(t, rates, fee)) return 0;
    net = t->amount_in - fee;
    if (!add(&divisor, net)) return 0;
    if (!scale(&t->amount_out, net, t->reserve_out, divisor, 0)) return 0;
    if (t->creator_fee_on_input) return 1;
    if (!scale(&t->creator_fee, t->amount_out, rates->creator, MILLION, 1)) return 0;
    t->amount_out -= t->creator_fee; /* a rate below one: the fee is never above the amount */
    return 1;
}

/* Find the amount in; 0 when there is no answer. */
static int price_exact_out(trade *t, const fee_rates *rates) {
    u64 gross = t->amount_out, net, rate = input_rate(t, rates);
    if (!t->creator_fee_on_input) {
        if (!scale(&gross, t->amount_out, MILLION, MILLION - rates->creator, 1)) return 0;
        t->creator_fee = gross - t->amount_out;
    }
    if (gross >= t->reserve_out || rate >= MILLION) return 0;
    if (!scale(&net, t->reserve_in, gross, t->reserve_out - gross, 1)) return 0;
    if (!scale(&t->amount_in, net, MILLION, MILLION - rate, 1)) return 0;
    return split_fee(t, rates, t->amount_in - net);
}

/* Price the trade and hold it against the limit: the least amount out, or the most in. */
static u64 price(trade *t, const fee_rates *rates, u64 limit) {
    if (t->by_input) {
        if (t->amount_in == 0) return RequireGtViolated;
        if (!price_exact_in(t, rates)) return ZeroTradingTokens;
        if (t->amount_out == 0) return RequireGtViolated;
        return t->amount_out >= limit ? OK : ExceededSlippage;
    }
    if (!price_exact_out(t, rates)) return ZeroTradingTokens;
    if (t->amount_in == 0) return RequireGtViolated;
    return t->amount_in <= limit ? OK : ExceededSlippage;
}

/* ------------------------------------------------------------------------------ settlement */

static int owe(account *a, u64 field, u64 side, u64 amount) {
    u64 *owed = (u64 *)(data_of(a[POOL]) + field + 8 * side);
    return add(owed, amount);
}

static u64 book_fees(account *a, const trade *t) {
    u64 creator_side = t->creator_fee_on_input ? t->side_in : 1 - t->side_in;
    return owe(a, POOL_PROTOCOL_FEES, t->side_in, t->protocol_fee) &&
                   owe(a, POOL_FUND_FEES, t->side_in, t->fund_fee) &&
                   owe(a, POOL_CREATOR_FEES, creator_side, t->creator_fee)
               ? OK
               : ZeroTradingTokens;
}

static void put_key(u8 *at, account a) {
    for (int i = 0; i < 4; i++) put64(at + 8 * i, key_of(a)->w[i]);
}

/* Write the event that tells the fill: a line "Program data: <base64>" in the log. */
static __attribute__((noinline)) void emit(account *a, const trade *t) {
    u8 event[EVENT_SIZE];
    slice data;
    put64(event, SWAP_EVENT);
    put_key(event + 8, a[POOL]);
    put64(event + 40, t->reserve_in);
    put64(event + 48, t->reserve_out);
    put64(event + 56, t->amount_in);
    put64(event + 64, t->amount_out);
    put64(event + 72, 0); /* transfer fees of the mints */
    put64(event + 80, 0);
    event[88] = t->by_input;
    put_key(event + 89, a[MINT_IN]);
    put_key(event + 121, a[MINT_OUT]);
    put64(event + 153, t->trade_fee);
    put64(event + 161, t->creator_fee);
    event[169] = t->creator_fee_on_input;
    data.at = event;
    data.length = EVENT_SIZE;
    sol_log_data(&data, 1);
}

typedef struct {
    account program, source, mint, destination, authority;
    const u8 *bump; /* of the vaults' owner when it is to sign, else null */
} transfer;

/* Move tokens by the token program's transfer_checked, which fails for the whole transaction. */
static __attribute__((noinline)) u64 move(const transfer *m, u64 amount) {
    u8 data[10];
    account_meta metas[4];
    account_info infos[4];
    instruction call;
    slice seeds[2], signer;
    account accounts[4] = {m->source, m->mint, m->destination, m->authority};
    for (int i = 0; i < 4; i++) {
        metas[i].key = key_of(accounts[i]);
        metas[i].writable = i == 0 || i == 2;
        metas[i].signer = i == 3;
        describe(&infos[i], accounts[i]);
    }
    data[0] = TRANSFER_CHECKED;
    put64(data + 1, amount);
    data[9] = data_of(m->mint)[MINT_DECIMALS];
    call.program = key_of(m->program);
    call.metas = metas;
    call.metas_length = ARRAY_LENGTH(metas);
    call.data = data;
    call.data_length = sizeof data;
    seeds[0].at = AUTHORITY_SEED;
    seeds[0].length = sizeof AUTHORITY_SEED - 1;
    seeds[1].at = m->bump;
    seeds[1].length = 1;
    signer.at = seeds;
    signer.length = ARRAY_LENGTH(seeds);
    return sol_invoke_signed_c(&call, infos, ARRAY_LENGTH(infos), &signer, m->bump != 0);
}

static __attribute__((noinline)) u64 settle(account *a, const trade *t) {
    transfer m = {a[PROGRAM_IN], a[USER_IN], a[MINT_IN], a[VAULT_IN], a[PAYER], 0};
    u64 error = move(&m, t->amount_in);
    if (error) return error;
    m.program = a[PROGRAM_OUT];
    m.source = a[VAULT_OUT];
    m.mint = a[MINT_OUT];
    m.destination = a[USER_OUT];
    m.authority = a[AUTHORITY];
    m.bump = data_of(a[POOL]) + POOL_AUTH_BUMP;
    return move(&m, t->amount_out);
}

/* Add seconds x (quote << 32) / base to a cumulative price. */
static __attribute__((noinline)) void accumulate(u64 *price, const u64 *before, u64 seconds,
                                                 u64 quote, u64 base) {
    u128 x32 = {quote >> 32, quote << 32}, product;
    divide(&x32, base);
    multiply(&product, x32.low, seconds);
    product.high += x32.high * seconds;
    price[0] = before[0] + product.low;
    price[1] = before[1] + product.high + (price[0] < product.low);
}

/* Note the price before the swap, at most every 15 seconds. */
static __attribute__((noinline)) void observe(account *a, const trade *t, u64 now) {
    u8 *state = data_of(a[OBSERVATION]);
    u64 index = state[OBSERVATION_INDEX] | state[OBSERVATION_INDEX + 1] << 8;
    u64 reserve0 = t->side_in == 0 ? t->reserve_in : t->reserve_out;
    u64 reserve1 = t->side_in == 0 ? t->reserve_out : t->reserve_in;
    if (index >= OBSERVATION_ENTRIES) return;
    u8 *last = state + OBSERVATION_FIRST + OBSERVATION_ENTRY * index;
    if (!state[OBSERVATION_READY]) {
        state[OBSERVATION_READY] = 1;
        put64(last, now);
        return;
    }
    u64 then = get64(last);
    if (now < then || now - then < OBSERVATION_SECONDS) return;
    index = index + 1 == OBSERVATION_ENTRIES ? 0 : index + 1;
    u8 *next = state + OBSERVATION_FIRST + OBSERVATION_ENTRY * index;
    put64(next, now);
    accumulate((u64 *)(next + 8), (u64 *)(last + 8), now - then, reserve1, reserve0);
    accumulate((u64 *)(next + 24), (u64 *)(last + 24), now - then, reserve0, reserve1);
    state[OBSERVATION_INDEX] = index;
}

/* ------------------------------------------------------------------------------------ swap */

/* Swap. An error of the token program does not come back: it ends the transaction in `settle`. */
static __attribute__((noinline)) u64 swap(account *a, trade *t, u64 limit) {
    clock_sysvar now;
    fee_rates rates;
    u8 *pool = data_of(a[POOL]);
    sol_get_clock_sysvar(&now);
    if (pool[POOL_STATUS] & SWAP_DISABLED || now.unix_timestamp < get64(pool + POOL_OPEN_TIME))
        return NotApproved;
    if (length_of(a[MINT_IN]) != MINT_SIZE || length_of(a[MINT_OUT]) != MINT_SIZE)
        return NotSupportMint;
    u64 error = read_terms(a, t, &rates);
    if (!error) error = price(t, &rates, limit);
    if (!error) error = book_fees(a, t);
    if (error) return error;
    emit(a, t);
    error = settle(a, t);
    if (error) return error;
    observe(a, t, now.unix_timestamp);
    put64(pool + POOL_EPOCH, now.epoch);
    return OK;
}

/* Read the instruction; give its limit on the price. */
static u64 read_instruction(const u8 *data, u64 length, trade *t, u64 *limit) {
    u64 tag = length < 8 ? 0 : get64(data);
    if (tag != SWAP_BASE_INPUT && tag != SWAP_BASE_OUTPUT) return InstructionFallbackNotFound;
    t->by_input = tag == SWAP_BASE_INPUT;
    if (t->by_input)
        LOG("Instruction: SwapBaseInput");
    else
        LOG("Instruction: SwapBaseOutput");
    if (length < INSTRUCTION_SIZE) return InstructionDidNotDeserialize;
    t->amount_in = t->amount_out = get64(data + (t->by_input ? 8 : 16));
    *limit = get64(data + (t->by_input ? 16 : 8));
    return OK;
}

u64 entrypoint(u8 *input) {
    account accounts[ACCOUNTS];
    trade t;
    u64 limit;
    u8 *behind = read_accounts(input, accounts, ACCOUNTS);
    u64 length = get64(behind);
    const u8 *data = behind + 8;
    const key32 *program = (const key32 *)(data + length);
    u64 error = read_instruction(data, length, &t, &limit);
    if (!error && get64(input) < ACCOUNTS) error = AccountNotEnoughKeys;
    if (!error) error = check_kinds(accounts, program);
    if (!error) error = check_ties(accounts, program);
    if (!error) error = swap(accounts, &t, limit);
    return error ? fail(error) : OK;
}
