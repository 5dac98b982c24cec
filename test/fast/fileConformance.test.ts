import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileConnector } from "../../src/engine/connectors/file/fileConnector.ts";
import { type FileSettings, fileSettingsSchema } from "../../src/engine/connectors/file/settings.ts";
import type { ConnectorDefinition } from "../../src/engine/ports/connector.ts";
import { type ConformanceTarget, connectorConformance } from "../conformance/connector.ts";

const noNetwork = "it is reached by no network";
const skips = {
  "an object that was moved out of scope is absent, and a direct look finds it":
    "every record of the file is in scope",
  "a list of anchors names exactly the objects in scope": "a delta import sees deletions by itself",
  "a value that the directory refuses is a result, and the others go on":
    "a text of any length fits into a file; test/fast/fileConnector.test.ts has what does not",
  "a wrong password is told as such": noNetwork,
  "an untrusted certificate is told as such": noNetwork,
  "a wrong server name is told as such": noNetwork,
};

type Person = Readonly<Record<"employeeId" | "login" | "displayName", string>>;

interface Format {
  readonly settings: Record<string, unknown>;
  dn(login: string): string;
  print(people: readonly Person[]): string;
  parse(text: string): Person[];
}

/** Reads and writes the file by other means than the connector. */
const csv: Format = {
  settings: { format: "csv", dn: "login" },
  dn: (login) => login,
  print: (people) =>
    ["employeeId,login,displayName", ...people.map((one) => [one.employeeId, one.login, one.displayName])]
      .map((line) => `${line}\n`)
      .join(""),
  parse: (text) =>
    text
      .split("\n")
      .slice(1)
      .filter((line) => line !== "")
      .map((line) => {
        const [employeeId = "", login = "", displayName = ""] = line.split(",");
        return { employeeId, login, displayName };
      }),
};
const suffix = ",ou=people,o=contoso";
const ldif: Format = {
  settings: { format: "ldif" },
  dn: (login) => `uid=${login}${suffix}`,
  print: (people) =>
    people
      .map(
        ({ employeeId, login, displayName }) =>
          `dn: uid=${login}${suffix}\nobjectClass: top\nobjectClass: person\nemployeeId: ${employeeId}\n${
            displayName === "" ? "" : `displayName: ${displayName}\n`
          }`,
      )
      .join("\n"),
  parse: (text) =>
    text
      .split("\n\n")
      .filter((block) => block.includes("dn:"))
      .map((block) => {
        const value = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1] ?? "";
        const login = value("dn").slice(4, -suffix.length);
        return { employeeId: value("employeeId"), login, displayName: value("displayName") };
      }),
};

async function openTarget({ settings, dn, print, parse }: Format): Promise<ConformanceTarget> {
  const folder = await mkdtemp(join(tmpdir(), "file-connector-"));
  const path = join(folder, "people");
  const snapshots = join(folder, "snapshots");
  const definition: ConnectorDefinition = {
    name: "HR",
    objectTypes: [{ name: "person", attributes: ["employeeId", "displayName"] }],
  };
  const connect = (changes: Partial<FileSettings> = {}) => {
    const whole = { path, anchor: "employeeId", snapshots, writable: true, settleSeconds: 0, pageSize: 5 };
    return new FileConnector(definition, fileSettingsSchema.parse({ ...whole, ...settings, ...changes }));
  };
  const people = async () => parse(await readFile(path, "utf8"));
  const write = (all: readonly Person[]) => writeFile(path, print(all));
  const gone = new Map<string, Person>();
  let number = 1000;
  const add = async (login: string, displayName: string): Promise<string> => {
    const employeeId = String(++number);
    await write([...(await people()), { employeeId, login, displayName }]);
    return employeeId;
  };

  await write([]);
  await add("first", "First");
  let old = "";
  for await (const page of connect().importPages({ kind: "full" })) old = page.complete?.watermark ?? "";
  await add("second", "Second");
  await rm(snapshots, { recursive: true });

  return {
    objectType: "person",
    outOfScope: "gone",
    settingNamed: /setting path/,
    connect: (flaw) => connect(flaw === undefined ? {} : { path: join(folder, "missing") }),
    fixtures: {
      add: (displayName) => add(`login${number}`, displayName),
      async change(anchor, displayName) {
        await write(
          (await people()).map((one) => (one.employeeId === anchor ? { ...one, displayName } : one)),
        );
      },
      async delete(anchor) {
        const all = await people();
        for (const one of all) if (one.employeeId === anchor) gone.set(anchor, one);
        await write(all.filter(({ employeeId }) => employeeId !== anchor));
      },
      async restore(anchor) {
        await write([...(await people()), gone.get(anchor)!]);
      },
      moveOut: () => Promise.reject(new Error("There is no outside.")),
      async read(anchor) {
        const person = (await people()).find(({ employeeId }) => employeeId === anchor);
        if (person === undefined) return undefined;
        return person.displayName === "" ? {} : { displayName: [person.displayName] };
      },
      newAccount: (name) => ({
        dn: dn(`new ${name}`),
        renamedDn: dn(`renamed ${name}`),
        attributes: { employeeId: `E-${name}`, displayName: name },
      }),
      async occupy(account) {
        const employeeId = String(account.attributes.employeeId);
        await write([...(await people()), { employeeId, login: "foreign", displayName: "Foreign" }]);
        return employeeId;
      },
      expired: () => Promise.resolve(old),
    },
    close: () => rm(folder, { recursive: true }),
  };
}

connectorConformance("CSV file", () => openTarget(csv), skips);
connectorConformance("LDIF file", () => openTarget(ldif), skips);
