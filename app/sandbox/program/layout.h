/* What is laid out as in Raydium CPMM: account order, field offsets, discriminators, errors.
 *
 * Source: raydium-io/raydium-cp-swap, programs/cp-swap/src; numbers below 6000 are Anchor's. */

enum {
    PAYER, AUTHORITY, CONFIG, POOL, USER_IN, USER_OUT, VAULT_IN, VAULT_OUT,
    PROGRAM_IN, PROGRAM_OUT, MINT_IN, MINT_OUT, OBSERVATION, ACCOUNTS
};

enum { /* PoolState: offsets; where a field is kept for both tokens, token 1 follows token 0 */
    POOL_SIZE = 637, POOL_CONFIG = 8, POOL_VAULT0 = 72, POOL_VAULT1 = 104, POOL_OBSERVATION = 296,
    POOL_AUTH_BUMP = 328, POOL_STATUS = 329, POOL_PROTOCOL_FEES = 341, POOL_FUND_FEES = 357,
    POOL_OPEN_TIME = 373, POOL_EPOCH = 381, POOL_CREATOR_FEE_ON = 389, POOL_CREATOR_ENABLED = 390,
    POOL_CREATOR_FEES = 397
};
enum { /* AmmConfig */
    CONFIG_SIZE = 236, CONFIG_TRADE = 12, CONFIG_PROTOCOL = 20, CONFIG_FUND = 28,
    CONFIG_CREATOR = 108
};
enum { /* ObservationState: 100 entries of a time u64 and two cumulative prices u128 */
    OBSERVATION_SIZE = 4075, OBSERVATION_READY = 8, OBSERVATION_INDEX = 9, OBSERVATION_FIRST = 43,
    OBSERVATION_ENTRY = 40, OBSERVATION_ENTRIES = 100, OBSERVATION_SECONDS = 15
};
enum { /* SPL Token */
    TOKEN_SIZE = 165, TOKEN_MINT = 0, TOKEN_AMOUNT = 64, MINT_SIZE = 82, MINT_DECIMALS = 44,
    TRANSFER_CHECKED = 12
};
enum { SWAP_DISABLED = 4 };
enum { FEE_ON_BOTH = 0, FEE_ON_TOKEN0 = 1, FEE_ON_TOKEN1 = 2 };
enum { EVENT_SIZE = 170, INSTRUCTION_SIZE = 24 };

#define MILLION 1000000ULL
/* sha256("account:PoolState")[:8] and its like, as they lie in memory */
#define POOL_TAG 0x46dec3d7f5e3edf7ULL
#define CONFIG_TAG 0x6f2bcbcb6821f4daULL
#define OBSERVATION_TAG 0x84a5098135c5ae7aULL
#define SWAP_BASE_INPUT 0xde331ec4da5abe8fULL
#define SWAP_BASE_OUTPUT 0xadb44aa35662d937ULL
#define SWAP_EVENT 0xe2710826e8cdc640ULL

static const key32 SPL_TOKEN = {{0x93a165d7e1f6dd06ULL, 0xac79ebce46e1cbd9ULL,
                                 0x91375b5fed85b41cULL, 0xa900ff7e85f58c3aULL}};
static const key32 TOKEN_2022 = {{0xde8f75eee1f6dd06ULL, 0xdacd6ce4bc5d4218ULL,
                                  0x270db9834dfc1ab6ULL, 0xfc8ba1d828f9bdfeULL}};
static const key32 SYSTEM = {{0, 0, 0, 0}};
static const char AUTHORITY_SEED[] = "vault_and_lp_mint_auth_seed";

#define ERRORS(E)                                                                                  \
    E(101, InstructionFallbackNotFound, "Fallback functions are not supported")                    \
    E(102, InstructionDidNotDeserialize, "The program could not deserialize the given instruction") \
    E(2000, ConstraintMut, "A mut constraint was violated")                                        \
    E(2003, ConstraintRaw, "A raw constraint was violated")                                        \
    E(2006, ConstraintSeeds, "A seeds constraint was violated")                                    \
    E(2012, ConstraintAddress, "An address constraint was violated")                               \
    E(2505, RequireGtViolated, "A require_gt expression was violated")                             \
    E(3002, AccountDiscriminatorMismatch, "Account discriminator did not match what was expected") \
    E(3003, AccountDidNotDeserialize, "Failed to deserialize the account")                         \
    E(3005, AccountNotEnoughKeys, "Not enough account keys given to the instruction")              \
    E(3007, AccountOwnedByWrongProgram, "The given account is owned by a different program")       \
    E(3008, InvalidProgramId, "Program ID was not as expected")                                    \
    E(3010, AccountNotSigner, "The given account did not sign")                                    \
    E(3012, AccountNotInitialized, "The program expected this account to be already initialized")  \
    E(6000, NotApproved, "Not approved")                                                           \
    E(6005, ExceededSlippage, "Exceeds desired slippage limit")                                    \
    E(6006, ZeroTradingTokens, "Given pool token amount results in zero trading tokens")           \
    E(6007, NotSupportMint, "Not support token_2022 mint extension")                               \
    E(6008, InvalidVault, "invaild vault")                                                         \
    E(6012, InsufficientVault, "Insufficient vault")                                               \
    E(6013, InvalidFeeModel, "Invalid fee model")

#define NAME(number, name, text) name = number,
#define SAY(number, name, text)                                                                    \
    case number:                                                                                   \
        LOG("AnchorError occurred. Error Code: " #name ". Error Number: " #number                  \
            ". Error Message: " text ".");                                                         \
        break;

enum { OK = 0, ERRORS(NAME) };

#define INVALID_ACCOUNT_DATA (4ULL << 32) /* the machine's own error, not a program's */

/* Log an error as Anchor does, and give it back. */
static __attribute__((noinline)) u64 fail(u64 error) {
    switch (error) { ERRORS(SAY) }
    return error;
}
