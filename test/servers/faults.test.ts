/** The faults of docs/reliability.md on the way to a directory: after each of them nothing is lost and nothing is twice. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DirectorySandbox } from "../../sandbox/directory/sandbox.ts";
import { sambaAvailable, startSamba } from "../../sandbox/samba/samba.ts";
import { AdConnector } from "../../src/engine/connectors/ad/adConnector.ts";
import type { ExportChange, ExportResult, ImportStart } from "../../src/engine/ports/connector.ts";
import {
  Administrator,
  adSettings,
  type DirectoryUnderTest,
  guestDefinition,
} from "../support/activeDirectory.ts";
import { noticeOfDisconnection, result } from "../support/fakeLdap.ts";
import {
  type FaultProxy,
  faultProxy,
  type Hook,
  operation,
  type ProxiedMessage,
} from "../support/faultProxy.ts";

interface Fault {
  readonly name: string;
  /** Strikes the first request of the operation, or its answer. */
  readonly request?: Hook;
  readonly answer?: Hook;
  /** Nothing tells of it: only patience ends. */
  readonly silent?: true;
}

const cut: Hook = (message) => {
  message.cut();
  return null;
};
const half: Hook = ({ bytes }) => bytes.subarray(0, Math.floor(bytes.length / 2));
const faults: readonly Fault[] = [
  { name: "the connection is cut before it arrives", request: cut },
  { name: "the connection is cut before the answer", answer: cut },
  { silent: true, name: "the request is swallowed, the socket stays open", request: () => null },
  { silent: true, name: "the answer is swallowed, the socket stays open", answer: () => null },
  { silent: true, name: "the answer is cut in the middle, the socket stays open", answer: half },
  { name: "the answer is not LDAP", answer: () => Buffer.from("HTTP/1.1 502 Bad Gateway\r\n\r\n") },
  {
    name: "the directory shuts down in place of an answer",
    answer: () => noticeOfDisconnection({ code: 52 }),
  },
  {
    name: "the directory is busy (51)",
    request: (message) => result(message, { code: 51, message: "busy" }),
  },
  { name: "the directory cannot answer (52)", request: (message) => result(message, { code: 52 }) },
  {
    name: "it was done, and the answer says busy (51)",
    answer: ({ id, operation: tag }) => result({ id, operation: tag - 1 }, { code: 51 }),
  },
  {
    name: "the session is lost (1)",
    request: (message) => result(message, { code: 1, message: "000004DC" }),
  },
];

type Opened = { readonly directory: DirectoryUnderTest; readonly ca: string; close(): Promise<void> };

function faultsOf(name: string, struckBy: readonly Fault[], open: () => Promise<Opened>): void {
  describe(name, () => {
    let opened: Opened;
    let proxy: FaultProxy;
    let struck = false;
    let administrator: Administrator;
    const connectors: AdConnector[] = [];
    const context = { log: () => undefined };

    beforeAll(async () => {
      opened = await open();
      proxy = await faultProxy(opened.directory);
      administrator = await Administrator.logOn(opened.directory, opened.ca);
      for (let index = 0; index < 9; index++) {
        const name = `listed${index}`;
        await administrator.addUser(`CN=${name},${opened.directory.guestOu}`, { sAMAccountName: name });
      }
    });
    afterAll(async () => {
      await Promise.all(connectors.map((one) => one.close()));
      await administrator?.logOff();
      await proxy?.close();
      await opened?.close();
    });
    beforeEach(() => {
      proxy.hooks = {};
    });

    /** With less patience than an operator may set, for what never comes is waited for often here. */
    function connect(silent?: true): AdConnector {
      const changes = { url: proxy.url, caCertificate: proxy.ca, serverName: "localhost", pageSize: 3 };
      const operationTimeoutMs = silent ? 700 : 20_000;
      const settings = { ...adSettings(opened.directory, changes), operationTimeoutMs };
      const connector = new AdConnector(guestDefinition, settings);
      connectors.push(connector);
      return connector;
    }

    /** The fault, for the n-th message of the kind. */
    function strike(fault: Fault, kind: number, nth = 1): void {
      let requests = 0;
      let answers = 0;
      // Deletes are the one operation whose answer is not the next tag.
      const answerKind =
        kind === operation.delete ? 0x6b : kind === operation.search ? operation.searchDone : kind + 1;
      const strikes = (hook: Hook | undefined, message: ProxiedMessage) => {
        if (hook !== undefined) struck = true;
        return hook?.(message);
      };
      struck = false;
      proxy.hooks = {
        request: (message) =>
          message.operation === kind && ++requests === nth ? strikes(fault.request, message) : undefined,
        answer: (message) =>
          message.operation === answerKind && ++answers === nth ? strikes(fault.answer, message) : undefined,
      };
    }

    let made = 0;
    function newAccount(): ExportChange {
      const id = `fault${++made}`;
      const attributes = {
        adminDescription: `User_${id}`,
        displayName: "Zoë 漢字",
        sAMAccountName: id,
        userAccountControl: 262_656n,
        userPrincipalName: `${id}@contoso.onmicrosoft.com`,
      };
      return {
        id,
        objectType: "user",
        change: "add",
        anchor: null,
        dn: `CN=${id},${opened.directory.guestOu}`,
        attributes: Object.entries(attributes).map(([attribute, after]) => ({
          name: attribute,
          after,
          rule: "test",
        })),
        outcomeUnknown: false,
      };
    }
    async function created(): Promise<ExportChange & { readonly anchor: string }> {
      const account = newAccount();
      const [done] = await connect().exportBatch([account], context);
      if (done?.kind !== "exported") throw new Error(done?.message);
      return { ...account, anchor: done.anchor, change: "update", attributes: [] };
    }

    /** As the engine does: what is not known to be done is sent again, the outcome being unknown. */
    async function sendUntilKnown(change: ExportChange, { silent }: Fault): Promise<ExportResult> {
      const connector = connect(silent);
      const first = await connector.exportBatch([change], context).catch((error: unknown) => {
        expect(error).toMatchObject({
          name: "ConnectorError",
          kind: expect.stringMatching(/^(unreachable|throttled)$/),
        });
        return undefined;
      });
      expect(struck).toBe(true);
      proxy.hooks = {};
      const [answer] = first ?? (await connect().exportBatch([{ ...change, outcomeUnknown: true }], context));
      return answer!;
    }
    const named = (id: string) => administrator.count(opened.directory.baseDn, "sAMAccountName", id);

    describe.each(struckBy.map((fault) => [fault.name, fault] as const))("%s", (_, fault) => {
      test("an account that is created is there once, with all its values", async () => {
        const account = newAccount();
        strike(fault, operation.add);
        expect(await sendUntilKnown(account, fault)).toMatchObject({ kind: "exported" });
        expect(await named(account.id)).toBe(1);
        expect(await administrator.read(account.dn)).toMatchObject({
          adminDescription: [`User_${account.id}`],
          displayName: ["Zoë 漢字"],
          userAccountControl: ["262656"],
        });
      });

      test("a change, a rename and a delete are done once", async () => {
        const account = await created();
        const attributes = [{ name: "displayName", before: "Zoë 漢字", after: "Ann", rule: "test" }];
        strike(fault, operation.modify);
        expect(await sendUntilKnown({ ...account, attributes }, fault)).toMatchObject({ kind: "exported" });
        expect((await administrator.read(account.dn))?.displayName).toEqual(["Ann"]);

        const newDn = account.dn.replace("CN=", "CN=renamed ");
        strike(fault, operation.rename);
        expect(await sendUntilKnown({ ...account, newDn }, fault)).toMatchObject({
          kind: "exported",
          dn: newDn,
        });
        expect([await administrator.read(account.dn), await named(account.id)]).toEqual([undefined, 1]);

        strike(fault, operation.delete);
        expect(await sendUntilKnown({ ...account, dn: newDn, change: "delete" }, fault)).toMatchObject({
          kind: "exported",
        });
        expect(await named(account.id)).toBe(0);
      });

      test.each([2, 5])("an import is never taken for whole: search %i", async (nth) => {
        const wanted = await anchors(connect(), { kind: "full" });
        const connector = connect(fault.silent);
        await connector.schema();
        strike(fault, operation.search, nth);
        const seen = await anchors(connector, { kind: "full" }).catch((error: unknown) => {
          expect(error).toMatchObject({ name: "ConnectorError" });
          return undefined;
        });
        expect(struck).toBe(true);
        // The session that was lost is made anew by itself; everything else ends the import.
        if (seen !== undefined) expect(seen).toEqual(wanted);
        proxy.hooks = {};
        expect(await anchors(connect(), { kind: "full" })).toEqual(wanted);
      });
    });

    test("latency on every message changes nothing but the time", async () => {
      proxy.hooks = {};
      const accounts = Array.from({ length: 8 }, newAccount);
      const delayed: Hook = () => {
        const until = Date.now() + 5;
        while (Date.now() < until); // the proxy has one thread, so this holds up every message
        return undefined;
      };
      proxy.hooks = { request: delayed, answer: delayed };
      const results = await connect().exportBatch(accounts, context);
      expect(results.map(({ kind }) => kind)).toEqual(accounts.map(() => "exported"));
    });

    async function anchors(connector: AdConnector, start: ImportStart): Promise<string[]> {
      const seen = new Set<string>();
      for await (const page of connector.importPages(start, context)) {
        for (const entry of page.entries) if (entry.kind === "object") seen.add(entry.anchor);
        if (page.complete !== undefined) return [...seen].sort();
      }
      throw new Error("The import has no end.");
    }
  });
}

const available = sambaAvailable();
describe.skipIf(!available.ok)(available.ok ? "Samba" : `Samba: ${available.reason}`, () => {
  // What is only silence is silence before any directory: once before Samba is enough.
  const struckBy = faults.filter(
    ({ silent, name }) => silent !== true || name.startsWith("the answer is swallowed"),
  );
  faultsOf("the way to a Samba domain controller", struckBy, async () => {
    const root = join(import.meta.dirname, "..", "..", ".test");
    const samba = await startSamba({
      dir: join(root, "faults"),
      cacheDir: join(root, "samba-cache"),
      readDeleted: true,
    });
    await samba.reset();
    const { dn: bindDn, password: bindPassword } = samba.serviceAccount;
    const directory = { ...samba, bindDn, bindPassword };
    return { directory, ca: readFileSync(samba.caFile, "utf8"), close: () => samba.stop() };
  });
});
faultsOf("the way to the directory sandbox", faults, async () => {
  const sandbox = await DirectorySandbox.start({ readDeleted: true });
  return { directory: sandbox, ca: sandbox.ca, close: () => sandbox.close() };
});
