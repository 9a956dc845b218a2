// Orca's own quotes: reads {pool, oracle, arrays, time, fee_a, fee_b, swaps} as one JSON document, a
// line each, and answers a line each: for every swap [paid, received], or the error in words.
// Numbers are text, as they may be beyond 53 bits.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const core = require("@orca-so/whirlpools-core");

const TICKS = 88;
const nothing = {
  initialized: false,
  liquidityNet: 0n,
  liquidityGross: 0n,
  feeGrowthOutsideA: 0n,
  feeGrowthOutsideB: 0n,
  rewardGrowthsOutside: [0n, 0n, 0n],
};

function poolOf(pool) {
  const reward = { emissionsPerSecondX64: 0n, growthGlobalX64: 0n };
  const tier = pool.fee_tier;
  return {
    feeTierIndexSeed: new Uint8Array([tier & 255, tier >> 8]),
    tickSpacing: pool.spacing,
    feeRate: pool.fee_rate,
    protocolFeeRate: 0,
    liquidity: BigInt(pool.liquidity),
    sqrtPrice: BigInt(pool.sqrt_price),
    tickCurrentIndex: pool.tick,
    feeGrowthGlobalA: 0n,
    feeGrowthGlobalB: 0n,
    rewardLastUpdatedTimestamp: 0n,
    rewardInfos: [reward, reward, reward],
  };
}

function arrayOf({ start, nets }) {
  const ticks = Array.from({ length: TICKS }, () => nothing);
  for (const [slot, net] of Object.entries(nets)) {
    const liquidityNet = BigInt(net);
    const liquidityGross = liquidityNet < 0n ? -liquidityNet : liquidityNet;
    ticks[Number(slot)] = { ...nothing, initialized: true, liquidityNet, liquidityGross };
  }
  return { startTickIndex: start, ticks };
}

function oracleOf(oracle) {
  if (!oracle) return undefined;
  return {
    tradeEnableTimestamp: BigInt(oracle.enabled_at),
    adaptiveFeeConstants: {
      filterPeriod: oracle.filter_period,
      decayPeriod: oracle.decay_period,
      reductionFactor: oracle.reduction_factor,
      adaptiveFeeControlFactor: oracle.control_factor,
      maxVolatilityAccumulator: oracle.accumulator_max,
      tickGroupSize: oracle.group_size,
      majorSwapThresholdTicks: oracle.major_swap_ticks,
    },
    adaptiveFeeVariables: {
      lastReferenceUpdateTimestamp: BigInt(oracle.referenced_at),
      lastMajorSwapTimestamp: BigInt(oracle.major_swap_at),
      volatilityReference: oracle.volatility,
      tickGroupIndexReference: oracle.group,
      volatilityAccumulator: oracle.accumulator,
    },
  };
}

function feeOf(fee) {
  return fee ? { feeBps: fee.bps, maxFee: BigInt(fee.maximum) } : undefined;
}

function answer(asked) {
  const pool = poolOf(asked.pool);
  const oracle = oracleOf(asked.oracle);
  const time = BigInt(asked.time);
  const fees = [feeOf(asked.fee_a), feeOf(asked.fee_b)];
  return asked.swaps.map(({ a_to_b, exact_in, amount, arrays }) => {
    const ticks = arrays.map((start) => arrayOf(asked.arrays[start]));
    try {
      if (exact_in) {
        const args = [BigInt(amount), a_to_b, 0, pool, oracle, ticks, time, ...fees];
        const quote = core.swapQuoteByInputToken(...args);
        return [quote.tokenIn.toString(), quote.tokenEstOut.toString()];
      }
      const args = [BigInt(amount), !a_to_b, 0, pool, oracle, ticks, time, ...fees];
      const quote = core.swapQuoteByOutputToken(...args);
      return [quote.tokenEstIn.toString(), quote.tokenOut.toString()];
    } catch (error) {
      return String(error);
    }
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(answer(JSON.parse(line))));
}
