/**
 * `node sandbox/azurite.ts --data DIR [--exit-with-parent]`: Azurite's table service as a process of the platform.
 * Prints {"ready":true,"port":N,"connectionString":"…"} once it answers.
 *
 * Azurite's own program runs inside this process, so that neither can outlive the other. It saves every five
 * seconds and on SIGINT, and knows no other signal: SIGTERM and the parent's end become SIGINT.
 */
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { freePort } from "./freePort.ts";

/** The account that Azurite serves out of the box; its key is public: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite */
const account = "devstoreaccount1";
const accountKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

const { values: options } = parseArgs({
  options: { data: { type: "string" }, "exit-with-parent": { type: "boolean", default: false } },
});
if (options.data === undefined) {
  console.error("Say where the tables live: --data DIR");
  process.exit(2);
}
mkdirSync(options.data, { recursive: true });

const interrupt = () => process.kill(process.pid, "SIGINT");
process.on("SIGTERM", interrupt);
if (options["exit-with-parent"]) {
  process.stdin.once("end", interrupt).resume();
  // Azurite ends by closing all it has open; the pipe must not keep the process alive then.
  (process.stdin as Socket).unref();
}

// Azurite prints its configured port, so 0 would not tell which port it got.
const port = await freePort();
process.argv.splice(
  2,
  process.argv.length,
  ...["--tableHost", "127.0.0.1", "--tablePort", String(port), "--location", options.data],
  ...["--skipApiVersionCheck", "--disableTelemetry", "--silent"],
);
const ourLog = console.log;
// Its greeting would be taken for the line that says we are ready.
console.log = console.error;
createRequire(import.meta.url)("azurite/dist/src/table/main.js");

while (!(await answers(port))) await sleep(20);
const endpoint = `http://127.0.0.1:${port}/${account}`;
const connectionString = `DefaultEndpointsProtocol=http;AccountName=${account};AccountKey=${accountKey};TableEndpoint=${endpoint};`;
ourLog(JSON.stringify({ ready: true, port, connectionString }));

function answers(onPort: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(onPort, "127.0.0.1");
    socket.once("connect", () => socket.end(() => resolve(true)));
    socket.once("error", () => resolve(false));
  });
}
