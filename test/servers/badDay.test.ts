/**
 * What a person meets when something is set wrongly or a peer is not as it should be: one clear message, an exit
 * code, and a directory in which nothing has changed. Everything is started as `npm start` starts it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Page, Run } from "../../cli/api.ts";
import { DirectorySandbox } from "../../sandbox/directory/sandbox.ts";
import { createAuthority } from "../../sandbox/graph/certificates.ts";
import { GraphSandbox } from "../../sandbox/graph/server.ts";
import type { PlatformFile } from "../../sandbox/platform.ts";
import { directorySettings } from "../support/activeDirectory.ts";
import { connect, search } from "../support/ldap.ts";

const root = join(import.meta.dirname, "../..");
const home = join(root, `.test/bad-day-${process.pid}`);
const state = join(home, "state");
const unused = "127.0.0.1:1";

let directory: DirectorySandbox;
let graph: GraphSandbox;
let good: Record<string, string>;
/** Everything that was printed in this file. */
const printed: string[] = [];

beforeAll(async () => {
  mkdirSync(home, { recursive: true });
  directory = await DirectorySandbox.start({ dataDir: join(home, "directory") });
  graph = await GraphSandbox.start({ dataDir: join(home, "graph"), guests: 3, members: 1, seed: 5 });
  writeFileSync(join(home, "other-ca.pem"), (await createAuthority("Somebody else")).certificate);
  good = {
    GRAPH_BASE_URL: graph.url,
    GRAPH_CA_CERTIFICATE: graph.caFile!,
    GRAPH_ACCESS_TOKEN: graph.token,
    ...directorySettings(directory),
    CYCLE_SCHEDULE: "0 0 0 1 1 *",
    RUN_RETRY_SECONDS: "0.2,0.4",
  };
});
afterAll(async () => {
  await directory?.close();
  await graph?.close();
  rmSync(home, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number | null;
  readonly text: string;
  /** Without what is printed at every start. */
  readonly messages: readonly string[];
}

function run(program: string, args: readonly string[], settings: Record<string, string>) {
  const child = spawn(process.execPath, [join(root, program), ...args], {
    env: { PATH: process.env.PATH, NO_COLOR: "1", ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const chunks: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      chunks.push(chunk);
      printed.push(chunk);
    });
  const ended = new Promise<Outcome>((resolve) => {
    child.once("close", (code) => {
      const text = chunks.join("");
      const everyTime = /^$|^Vestibule$|^(queues|tables|Graph|directory|functions) {2}|^API /;
      resolve({ code, text, messages: text.split("\n").filter((line) => !everyTime.test(line)) });
    });
  });
  return { child, ended, said: () => chunks.join("") };
}

const startFile = "sandbox/start.ts";
const start = (settings: Record<string, string>, args: readonly string[] = ["--once"]) =>
  run(startFile, ["--state", state, "--port", "0", ...args], { ...good, ...settings });

/** What the directory holds, with the counters that move at every write. */
async function directoryContent() {
  const client = await connect(directory, directory.adminDn, directory.adminPassword);
  try {
    const { entries } = await search(client, directory.baseDn, { attributes: ["*", "uSNChanged"] });
    return entries.map(({ dn, attributes }) => ({
      dn,
      ...Object.fromEntries(
        Object.entries(attributes).map(([name, values]) => [name, values.map((one) => one.toString("hex"))]),
      ),
    }));
  } finally {
    await client.unbind();
  }
}

describe("what is known without the network ends the start with code 2", () => {
  // With all four peers named nothing but the function host is started, and that ends before it asks any of them.
  const named = {
    Storage: "AccountName=a;AccountKey=c2VjcmV0LXN0b3JhZ2U=;TableEndpoint=http://127.0.0.1:1/a",
    ServiceBus: `Endpoint=sb://${unused};SharedAccessKeyName=k;SharedAccessKey=c2VjcmV0LWJ1cw==`,
  };
  let starts = 0;
  const refused = async (settings: Record<string, string>): Promise<readonly string[]> => {
    const folder = join(home, `refused-${++starts}`);
    const { code, messages } = await start({ ...named, ...settings }, ["--once", "--state", folder]).ended;
    expect([code, messages]).toEqual([2, expect.anything()]);
    return messages;
  };

  test.concurrent.each<[string, Record<string, string>, string | RegExp]>([
    [
      "a garbled storage account",
      { Storage: "AccountName=a;AccountKey" },
      /^app settings: Storage is not a whole connection string\. Copy it from the storage account's access keys: /,
    ],
    [
      "a garbled namespace",
      { ServiceBus: "sb://contoso.servicebus.windows.net" },
      /^app settings: ServiceBus is not a whole connection string\. Copy it from the namespace's shared access policies: /,
    ],
    [
      "an unresolved Key Vault reference of the platform",
      { Storage: "@Microsoft.KeyVault(SecretUri=https://vault/secrets/storage)" },
      "app settings: Storage is a Key Vault reference that was not resolved. Give the app's managed identity the role Key Vault Secrets User on the vault, and check the secret's name.",
    ],
    [
      "an unresolved Key Vault reference of a connector",
      { AD_BIND_PASSWORD: "@Microsoft.KeyVault(SecretUri=https://vault/secrets/password)" },
      /^config\/connectors\/ADMA\.yaml:8:17 The Key Vault reference in the setting AD_BIND_PASSWORD is not resolved\. Give the app's managed identity the role /,
    ],
    [
      "a schedule of words",
      { CYCLE_SCHEDULE: "every hour" },
      'app settings: CYCLE_SCHEDULE is "every hour", not an NCRONTAB expression. It has six fields, second minute hour day month day-of-week: "0 */30 * * * *" is every half hour.',
    ],
    [
      "a schedule of five fields' values in six",
      { CYCLE_SCHEDULE: "0 0 24 * * *" },
      /^app settings: CYCLE_SCHEDULE is "0 0 24 \* \* \*", not an NCRONTAB expression\./,
    ],
    [
      "a staging mode of neither kind",
      { STAGING_MODE: "maybe" },
      'app settings: STAGING_MODE is "maybe", neither true nor false. Give one of them.',
    ],
    [
      "waits that are no numbers",
      { RUN_RETRY_SECONDS: "soon" },
      'app settings: RUN_RETRY_SECONDS is "soon", not a list of seconds. Give numbers with commas between them, as in "15,45", or leave it out.',
    ],
    [
      "a directory without TLS",
      { AD_URL: "ldap://dc1.contoso.local" },
      /^config\/connectors\/ADMA\.yaml:6:8 AD_URL must be ldaps:\/\/host or ldaps:\/\/host:port; a connection without TLS \(ldap:\/\/\) is never used/,
    ],
    [
      "an organisational unit of another domain",
      { GUEST_OU: "OU=Guests,DC=fabrikam,DC=local" },
      /^config\/connectors\/ADMA\.yaml:12:16 GUEST_OU \(OU=Guests,DC=fabrikam,DC=local\) does not lie in AD_BASE_DN \(DC=contoso,DC=local\)\. Look at the app setting GUEST_OU\.$/,
    ],
    [
      "Graph without TLS",
      { GRAPH_BASE_URL: "http://graph.microsoft.com" },
      /^config\/connectors\/AADMA\.yaml:7:12 GRAPH_BASE_URL must be an https address such as https:\/\/graph\.microsoft\.com/,
    ],
    [
      "a certificate authority of the directory that is no file",
      { AD_CA_CERTIFICATE: join(home, "no.pem") },
      /^connector ADMA: AD_CA_CERTIFICATE is neither PEM text nor a file that can be read \(ENOENT/,
    ],
    [
      "a certificate authority of Graph that is no certificate",
      { GRAPH_CA_CERTIFICATE: "-----BEGIN CERTIFICATE-----" },
      /^connector AADMA: GRAPH_CA_CERTIFICATE cannot be used \(no certificate in it\)\. Give PEM text or the path of a PEM file\.$/,
    ],
    [
      "a setting that two files refer to and nobody has set",
      { GUEST_OU: "" },
      "config/connectors/ADMA.yaml:12:16 The setting GUEST_OU is not set. Set GUEST_OU in the app settings (or local.settings.json).",
    ],
    [
      "a folder that does not exist",
      { CONFIG_DIR: join(home, "nowhere") },
      `${join(home, "nowhere")}: The folder of the configuration does not exist. Set CONFIG_DIR to the folder with connectors, rules, cycles and metaverse.yaml.`,
    ],
  ])("%s", async (_, settings, message) => {
    expect(await refused(settings)).toEqual([
      typeof message === "string" ? message : expect.stringMatching(message),
    ]);
  });

  let copies = 0;
  const edited = (file: string, from: string, to: string): string => {
    const folder = join(home, `${++copies}/config`);
    cpSync(join(root, "config"), folder, { recursive: true });
    const text = readFileSync(join(folder, file), "utf8");
    expect(text.split(from)).toHaveLength(2);
    writeFileSync(join(folder, file), text.replace(from, to));
    return folder;
  };
  test.concurrent.each<[string, string, string, string, RegExp]>([
    [
      "a quote that is not closed",
      "rules/AD-B2B-IN.yaml",
      "name: AD-B2B-IN",
      'name: "AD-B2B-IN',
      /^config\/rules\/AD-B2B-IN\.yaml:\d+:\d+ This is not YAML: .+ Mend the indentation or the quotes here\.$/,
    ],
    [
      "an unknown key",
      "connectors/ADMA.yaml",
      "deprovision:",
      "deprovison:",
      /^config\/connectors\/ADMA\.yaml:\d+:1 "deprovison" is not known here\. Did you mean "deprovision"\?$/,
    ],
    [
      "an unknown function",
      "rules/AAD-B2B-IN.yaml",
      "'Left([id], 20)'",
      "'Lef([id], 20)'",
      /^config\/rules\/AAD-B2B-IN\.yaml:18:41 In the expression for "accountName": There is no function Lef\. .*\bLeft\b/,
    ],
    [
      "an unknown attribute of the metaverse",
      "rules/AD-B2B-OUT.yaml",
      "source: givenName",
      "source: givenNam",
      /^config\/rules\/AD-B2B-OUT\.yaml:23:34 "givenNam" is not an attribute of the metaverse object type person\. Did you mean "givenName"\?/,
    ],
    [
      "an unknown attribute of a connector",
      "rules/AAD-B2B-IN.yaml",
      "source: surname",
      "source: surName2",
      /^config\/rules\/AAD-B2B-IN\.yaml:26:27 "surName2" is not a selected attribute of user in AADMA\. Did you mean "surname"\?/,
    ],
    [
      "a property that Graph does not have",
      "connectors/AADMA.yaml",
      "- surname",
      "- surname\n      - surName2",
      /^connector AADMA: .*surName2/,
    ],
    [
      "a filter that Graph cannot apply to changes",
      "connectors/AADMA.yaml",
      "filter: userType eq 'Guest'",
      "filter: startswith(displayName, 'A')",
      /^connector AADMA: .*startswith/,
    ],
    [
      "an unknown connector in a cycle",
      "cycles/delta.yaml",
      "{ connector: ADMA, profile: Export }",
      "{ connector: ADM, profile: Export }",
      /^config\/cycles\/delta\.yaml:\d+:18 There is no connector "ADM"\. Did you mean "ADMA"\?$/,
    ],
    [
      "an unknown run profile in a cycle",
      "cycles/delta.yaml",
      "{ connector: ADMA, profile: Export }",
      "{ connector: ADMA, profile: Exprot }",
      /^config\/cycles\/delta\.yaml:\d+:33 ADMA has no run profile "Exprot"\. Did you mean "Export"\?$/,
    ],
    [
      "a setting that nobody has set",
      "connectors/AADMA.yaml",
      "%GRAPH_BASE_URL|https://graph.microsoft.com%",
      "%GRAPH_BASE_ADDRESS%",
      /^config\/connectors\/AADMA\.yaml:7:12 The setting GRAPH_BASE_ADDRESS is not set\. Set GRAPH_BASE_ADDRESS in the app settings \(or local\.settings\.json\)\.$/,
    ],
  ])("%s", async (_, file, from, to, message) => {
    expect(await refused({ CONFIG_DIR: edited(file, from, to) })).toEqual([expect.stringMatching(message)]);
  });

  test("storage and namespace that are missing, which the local platform would fill in", async () => {
    const { code, messages } = await run("sandbox/host/main.ts", ["--app", root], good).ended;
    expect([code, messages]).toEqual([
      2,
      [
        "app settings: Storage is missing. Give a connection string, or Storage__tableServiceUri for a managed identity.",
        "app settings: ServiceBus is missing. Give a connection string, or ServiceBus__fullyQualifiedNamespace for a managed identity.",
      ],
    ]);
  });

  test("a port that is in use, and an option that does not exist", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((listening) => taken.once("listening", listening));
    const { port } = taken.address() as { port: number };
    const [inUse, unknown] = await Promise.all([
      run(startFile, ["--state", join(home, "other"), "--port", String(port)], good).ended,
      run(startFile, ["--guest", "4"], good).ended,
    ]);
    taken.close();
    expect([inUse.code, inUse.messages]).toEqual([
      2,
      [`Port ${port} is in use. Another one: --port N (0 takes a free one).`],
    ]);
    expect([unknown.code, unknown.messages[0]]).toEqual([2, "error: unknown option '--guest'"]);
  });
});

describe("what only the network tells ends the run, and the directory is as it was", () => {
  let before: Awaited<ReturnType<typeof directoryContent>>;

  beforeAll(async () => {
    const { code, text } = await start({}).ended;
    expect(text).toContain("Verified by reading the directory: 3 of 3 guests");
    expect(code).toBe(0);
    // What a cycle that is not stopped would change: one account more, and one back.
    const admin = async (method: string, path: string, body?: string) => {
      const answer = await fetch(`${graph.adminUrl}/admin${path}`, { method, ...(body && { body }) });
      expect(answer.ok).toBe(true);
      return answer.json() as Promise<{ users: readonly { id: string }[] }>;
    };
    const [guest] = (await admin("GET", "/users?userType=Guest&top=1")).users;
    await admin("PATCH", `/users/${guest!.id}`, '{"displayName":"Changed"}');
    await admin("POST", "/guests", "{}");
    before = await directoryContent();
  });

  const otherCa = join(home, "other-ca.pem");
  test.each<[string, () => Record<string, string>, string, RegExp]>([
    [
      "no domain controller",
      () => ({ AD_URL: `ldaps://${unused}` }),
      "no-start-connection",
      /Nothing answers at AD_URL \(ldaps:\/\/127\.0\.0\.1:1: ECONNREFUSED\)\. Check that the domain controller runs/,
    ],
    [
      "a directory with a certificate of another authority",
      () => ({ AD_CA_CERTIFICATE: otherCa }),
      "no-start-connection",
      /The certificate of ldaps:\S+ is not trusted .*AD_CA_CERTIFICATE must hold the certificate of the authority that issued it\.$/,
    ],
    [
      "a directory that has another name",
      () => ({ AD_SERVER_NAME: "dc9.contoso.local" }),
      "no-start-connection",
      /The certificate of ldaps:\S+ is issued to another name .*Set AD_SERVER_NAME to the name in the certificate/,
    ],
    [
      "a wrong password",
      () => ({ AD_BIND_PASSWORD: "wrong-Passw0rd-of-a-test" }),
      "no-start-credentials",
      /refused the logon .*Check AD_BIND_DN and AD_BIND_PASSWORD\.$/,
    ],
    [
      "an organisational unit that does not exist",
      () => ({ GUEST_OU: `OU=Nowhere,${directory.baseDn}` }),
      "no-start-bad-ma-configuration",
      /OU=Nowhere,DC=contoso,DC=local.*GUEST_OU/,
    ],
    [
      "no Graph",
      () => ({ GRAPH_BASE_URL: `https://${unused}` }),
      "no-start-connection",
      /https:\/\/127\.0\.0\.1:1 cannot be reached \(ECONNREFUSED\)\. Check GRAPH_BASE_URL and the network\.$/,
    ],
    [
      "a token that Graph refuses",
      () => ({ GRAPH_ACCESS_TOKEN: "wrong-token-of-a-test" }),
      "no-start-credentials",
      /Graph answered 401 .*Check the function app's managed identity, or GRAPH_ACCESS_TOKEN where that is used\.$/,
    ],
    [
      "a Graph with a certificate of another authority",
      () => ({ GRAPH_CA_CERTIFICATE: otherCa }),
      "no-start-connection",
      /The certificate of https:\S+ is not trusted .*Set GRAPH_CA_CERTIFICATE to the authority that issued it/,
    ],
  ])("%s", async (_, settings, status, message) => {
    const { code, text, messages } = await start(settings()).ended;
    expect(code).toBe(1);
    const told = messages.filter((line) =>
      /^Step \d(?!.* a full (import|synchronisation) was made\.)/.test(line),
    );
    expect(told).toEqual([expect.stringMatching(message)]);
    expect(messages).toContain(`Nothing to verify: the run ended ${status}.`);
    expect(text).not.toContain("    at ");
    expect(await directoryContent()).toEqual(before);
  });

  test("once all is well the next start goes on from the same state, and does what was missed", async () => {
    const { code, text } = await start({}).ended;
    expect(text).toMatch(/^Delta cycle, run /m);
    expect(text).toContain("exportAdd 1, exportUpdate 1");
    expect(text).toContain("Verified by reading the directory: 4 of 4 guests");
    expect(code).toBe(0);
  });

  test("--fresh forgets the state, finds every account again, and makes none", async () => {
    const accounts = await directoryContent();
    const { code, text } = await start({}, ["--once", "--fresh"]).ended;
    expect(text).toMatch(/^Initial cycle, run /m);
    expect(text).not.toMatch(/exportAdd|exportUpdate|exportDelete/);
    expect(code).toBe(0);
    expect(await directoryContent()).toEqual(accounts);
  });
});

describe("secrets", () => {
  let child: ChildProcess;
  afterAll(() => child?.kill());

  test("are in no log, in nothing that was printed, and in no answer of the API", async () => {
    const running = start({}, []);
    child = running.child;
    await expect.poll(running.said, { timeout: 30_000 }).toContain("Ctrl-C stops");
    const { api } = JSON.parse(readFileSync(join(state, "platform.json"), "utf8")) as PlatformFile;
    const answers: string[] = [];
    const get = async <Body>(path: string): Promise<Body> => {
      const response = await fetch(api + path);
      const text = await response.text();
      expect([path, response.status]).toEqual([path, 200]);
      answers.push(text);
      return JSON.parse(text) as Body;
    };
    for (const path of [
      "/health",
      "/schedule",
      "/openapi.json",
      "/connectors",
      "/connectors/ADMA/export-plan",
    ])
      await get(path);
    for (const { id } of (await get<Page<Run>>("/runs")).items) await get(`/runs/${id}`);
    for (const name of ["AADMA", "ADMA"]) {
      await get(`/connectors/${name}`);
      const { items } = await get<Page<{ id: string }>>(`/connectors/${name}/objects`);
      expect(items).toHaveLength(4);
      for (const { id } of items) await get(`/connectors/${name}/objects/${id}`);
    }
    for (const { id } of (await get<Page<{ id: string }>>("/metaverse")).items) await get(`/metaverse/${id}`);
    child.kill("SIGINT");
    expect((await running.ended).code).toBe(0);

    const logs = globSync(join(state, "logs/*.log")).map((file) => readFileSync(file, "utf8"));
    expect(logs.length).toBeGreaterThan(2);
    expect(answers.join("")).toContain("adminDescription");
    const everything = [...printed, ...answers, ...logs].join("\n");
    for (const secret of [
      directory.bindPassword,
      directory.adminPassword,
      graph.token,
      "wrong-Passw0rd-of-a-test",
      "wrong-token-of-a-test",
      "vault/secrets",
      "c2VjcmV0LXN0b3JhZ2U",
      "c2VjcmV0LWJ1cw",
    ])
      expect(everything).not.toContain(secret);
    expect(everything).not.toMatch(/unicodePwd|AccountKey=\S{8}|SharedAccessKey=\S{8}|-----BEGIN/i);
  });
});
