/** The directory sandbox as a process: its ready line, its end, and what outlives it. */
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect as tlsConnect } from "node:tls";
import type { Client } from "ldapts";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DirectoryReady } from "../../sandbox/directory/process.ts";
import { change, connect, DirSyncControl, oid, PlainControl, read, search } from "../support/ldap.ts";

const program = join(import.meta.dirname, "../../sandbox/directory/main.ts");
let dir: string;
const running = new Set<ChildProcess>();

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "directory-test-"));
});
afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(dir, { recursive: true });
});

async function start(): Promise<{
  ready: DirectoryReady;
  child: ChildProcess;
  ended: Promise<number | null>;
}> {
  const child = spawn(process.execPath, [program, "--data", dir, "--exit-with-parent"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  running.add(child);
  const ended = new Promise<number | null>((resolve) => {
    child.once("exit", (code) => {
      running.delete(child);
      resolve(code);
    });
  });
  const ready = await new Promise<DirectoryReady>((resolve, reject) => {
    createInterface(child.stdout!).once("line", (line) => resolve(JSON.parse(line) as DirectoryReady));
    void ended.then((code) => reject(new Error(`ended with ${code}`)));
  });
  return { ready, child, ended };
}

function logOn(ready: DirectoryReady): Promise<Client> {
  const server = { ...ready, ca: readFileSync(ready.ca, "utf8") };
  return connect(server, ready.bindDn, readFileSync(ready.bindPasswordFile, "utf8"));
}

test("what was acknowledged before a SIGKILL is there after the next start, cookies included", async () => {
  const first = await start();
  const client = await logOn(first.ready);
  const { guestOu, baseDn } = first.ready;
  const control = new DirSyncControl();
  const sync = async (on: Client) => {
    const { entries } = await search(on, baseDn, {
      filter: "(objectClass=user)",
      attributes: ["name", "title", "isDeleted"],
      controls: [control],
    });
    return entries.map(({ attributes }) => attributes);
  };
  for (const cn of ["stays", "changes", "goes"]) {
    await client.add(`CN=${cn},${guestOu}`, { objectClass: "user", sAMAccountName: cn, title: "before" });
  }
  await client.modify(`CN=changes,${guestOu}`, change("replace", "manager", `CN=stays,${guestOu}`));
  await sync(client);
  await client.modify(`CN=changes,${guestOu}`, change("replace", "title"));
  await client.del(`CN=goes,${guestOu}`);
  const usn = await read(client, "", "highestCommittedUSN");
  const before = await search(client, `CN=changes,${guestOu}`, { scope: "base" });
  first.child.kill("SIGKILL");
  await first.ended;
  // A write that the kill cut off in the middle: it was never acknowledged.
  appendFileSync(join(dir, "directory.ndjson"), '[{"g":"cut of');

  const second = await start();
  const again = await logOn(second.ready);
  expect(second.ready.ca).toBe(first.ready.ca);
  expect(await read(again, "", "highestCommittedUSN")).toEqual(usn);
  const after = await search(again, `CN=changes,${guestOu}`, { scope: "base" });
  expect(after.entries).toEqual(before.entries);
  expect((await read(again, `CN=stays,${guestOu}`, "directReports"))[0]).toBe(`CN=changes,${guestOu}`);
  const changes = await sync(again);
  expect(changes.map(({ title }) => title)).toEqual([[], []]);
  expect(changes[1]!.isDeleted!.map(String)).toEqual(["TRUE"]);
  const tombstones = await search(again, baseDn, {
    filter: "(&(isDeleted=TRUE)(sAMAccountName=goes))",
    controls: [new PlainControl(oid.showDeleted)],
  });
  expect(tombstones.entries).toHaveLength(1);
  await again.add(`CN=new,${guestOu}`, { objectClass: "user" });
  await again.unbind();
  second.child.stdin!.end();
  expect(await second.ended).toBe(0);
  const third = await start();
  const last = await logOn(third.ready);
  expect(await read(last, `CN=new,${guestOu}`, "cn")).toEqual(["new"]);
  await last.unbind();
  third.child.kill("SIGTERM");
  expect(await third.ended).toBe(0);
});

test("a journal of many changes is rewritten at the next start and says the same", async () => {
  const first = await start();
  const client = await logOn(first.ready);
  const dn = `CN=busy,${first.ready.guestOu}`;
  await client.add(dn, { objectClass: "user", sAMAccountName: "busy" });
  const changes = Array.from({ length: 1500 }, (_, i) => change("replace", "title", `title ${i}`));
  await Promise.all(changes.map((one) => client.modify(dn, one)));
  const before = await search(client, dn, { scope: "base" });
  await client.unbind();
  first.child.kill("SIGTERM");
  await first.ended;
  const journal = join(dir, "directory.ndjson");
  const size = statSync(journal).size;

  const second = await start();
  const again = await logOn(second.ready);
  expect(statSync(journal).size).toBeLessThan(size / 10);
  expect((await search(again, dn, { scope: "base" })).entries).toEqual(before.entries);
  await again.unbind();
  second.child.kill("SIGTERM");
  expect(await second.ended).toBe(0);
});

test("passwords and the authority's key are readable by their owner alone", () => {
  for (const file of ["administrator", "svc-vestibule", "ca.key", "directory.ndjson"]) {
    expect(statSync(join(dir, file)).mode & 0o077).toBe(0);
  }
});

test("bytes that are no LDAP end the connection, and the server goes on", async () => {
  const { ready, child, ended } = await start();
  const url = new URL(ready.url);
  const socket = tlsConnect({
    host: url.hostname,
    port: Number(url.port),
    ca: readFileSync(ready.ca),
    servername: ready.serverName,
  });
  socket.write("GET / HTTP/1.1\r\n\r\n");
  const received: Buffer[] = [];
  for await (const chunk of socket) received.push(chunk as Buffer);
  expect(Buffer.concat(received).toString("latin1")).toContain("1.3.6.1.4.1.1466.20036");
  const client = await logOn(ready);
  expect(await read(client, ready.guestOu, "ou")).toEqual(["AAD Guest Users"]);
  await client.unbind();
  child.kill("SIGTERM");
  expect(await ended).toBe(0);
});
