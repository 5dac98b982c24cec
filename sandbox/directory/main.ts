/** `node sandbox/directory/main.ts --data DIR [--port 0] [--exit-with-parent]`: the sandbox as a process. */
import { parseArgs } from "node:util";
import { announce } from "./process.ts";
import { DirectorySandbox } from "./sandbox.ts";

const { values } = parseArgs({
  options: {
    data: { type: "string" },
    port: { type: "string", default: "0" },
    "exit-with-parent": { type: "boolean", default: false },
  },
});

if (values.data === undefined || !/^\d{1,5}$/.test(values.port)) {
  console.error("usage: main.ts --data DIR [--port 0] [--exit-with-parent]");
  process.exit(2);
}

try {
  const sandbox = await DirectorySandbox.start({ dataDir: values.data, port: Number(values.port) });
  announce(
    {
      ready: true,
      url: sandbox.url,
      ca: sandbox.caFile,
      serverName: sandbox.serverName,
      bindDn: sandbox.bindDn,
      bindPasswordFile: sandbox.bindPasswordFile,
      baseDn: sandbox.baseDn,
      guestOu: sandbox.guestOu,
    },
    values["exit-with-parent"],
    () => sandbox.close(),
  );
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
