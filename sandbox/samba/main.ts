/** `node sandbox/samba/main.ts --data DIR [--exit-with-parent]`: the domain controller as a process. */
import { parseArgs } from "node:util";
import { announce } from "../directory/process.ts";
import { sambaAvailable, startSamba } from "./samba.ts";

const { values } = parseArgs({
  options: {
    data: { type: "string" },
    address: { type: "string" },
    "exit-with-parent": { type: "boolean", default: false },
  },
});

const available = sambaAvailable();
if (values.data === undefined || !available.ok) {
  console.error(available.ok ? "Say where the state lives: --data DIR" : available.reason);
  process.exit(2);
}

try {
  const server = await startSamba({
    dir: values.data,
    ...(values.address === undefined ? {} : { address: values.address }),
  });
  announce(
    {
      ready: true,
      url: server.url,
      ca: server.caFile,
      serverName: server.serverName,
      bindDn: server.serviceAccount.dn,
      bindPasswordFile: server.serviceAccount.passwordFile,
      baseDn: server.baseDn,
      guestOu: server.guestOu,
    },
    values["exit-with-parent"],
    () => server.stop(),
  );
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
