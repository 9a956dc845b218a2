// Starts Surfpool without a network and prints where it is; ends when its standard input does.
import { createRequire } from "node:module";

const [folder, slotTimeMs] = process.argv.slice(2);
const { Surfnet } = createRequire(folder + "/")("@solana/surfpool-linux-x64-gnu");
const chain = Surfnet.startWithConfig({
  offline: true,
  blockProductionMode: "clock",
  slotTimeMs: Number(slotTimeMs),
});
console.log(JSON.stringify({ rpc_url: chain.rpcUrl, ws_url: chain.wsUrl }));
setInterval(() => chain.drainEvents(), 1000);
process.stdin.on("end", () => {
  chain.stop();
  process.exit(0);
});
process.stdin.resume();
