/** The whole product with the recipe's rules extension, against a real Samba domain: examples/rules-extension. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type SambaServer, sambaAvailable } from "../../sandbox/samba/samba.ts";
import { Administrator } from "../support/activeDirectory.ts";
import { Chain, counted, startTestSamba } from "../support/chain.ts";

const samba = sambaAvailable();
const skip = samba.ok ? false : samba.reason;

describe.skipIf(skip)(`guests become accounts by an extension${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let server: SambaServer;
  let chain: Chain;
  let admin: Administrator;

  beforeAll(async () => {
    server = await startTestSamba("extension");
    admin = await Administrator.logOn(
      { ...server, bindDn: server.serviceAccount.dn, bindPassword: server.serviceAccount.password },
      readFileSync(server.caFile, "utf8"),
    );
    const settings = { CONFIG_DIR: join(import.meta.dirname, "../../examples/rules-extension") };
    chain = await Chain.start({ guests: 12, samba: server, name: "extension", settings });
  });
  afterAll(async () => {
    await chain?.stop();
    await admin?.logOff();
    await server?.stop();
  });

  const guestIds = async () => {
    const { users } = await chain.graph<{ users: { id: string }[] }>("GET", "/users?userType=Guest&top=999");
    return users.map(({ id }) => id);
  };

  test("every account is as the declarative rules want it, and its password counts as set now", async () => {
    const run = await chain.cycle("initial");
    expect(run.status, JSON.stringify(run.steps)).toBe("success");
    expect(await chain.verify()).toEqual({ guests: 12, right: 12, problems: [] });
    for (const id of await guestIds()) {
      const account = (await admin.read(`CN=${id},${server.guestOu}`))!;
      expect(account.sAMAccountName).toEqual([id.slice(0, 20)]);
      expect(Number(account.pwdLastSet![0])).toBeGreaterThan(0);
    }
  });

  test("another cycle exports nothing, delta or full", async () => {
    for (const cycle of ["delta", "initial"] as const) {
      const run = await chain.cycle(cycle);
      expect(run.status).toBe("success");
      const exported = counted(run).filter(([, type]) => type === "export");
      expect(exported.map(([, , statistics]) => statistics)).toEqual([{}]);
    }
  });
});
