/** The rules of a real Entra Connect, taken over from the export in `../shared/samples`, and users for them. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Configuration, SettingsSchema } from "../src/engine/core/configuration.ts";
import { readConfiguration } from "../src/engine/core/readConfiguration.ts";
import { type AttributeValue, reference } from "../src/engine/core/values.ts";
import { takeOver } from "../src/engine/takeover/takeover.ts";

const folder = join(import.meta.dirname, "../../shared/samples/aadconnect-export");

export interface Sample {
  readonly configuration: Configuration;
  /** That of Active Directory. */
  readonly connector: string;
  /** Those that are selected of a user. */
  readonly attributes: ReadonlySet<string>;
}

/** Or why there is none. */
export function loadSample(): Sample | string {
  if (!existsSync(folder))
    return "The export is not part of the repository; it is looked for in ../shared/samples.";
  const exported = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".xml"))
    .map((name) => ({ file: name, text: readFileSync(join(folder, name), "utf8") }));
  const { files } = takeOver(exported);
  const anySettings: SettingsSchema = { safeParse: (data) => ({ success: true, data }) };
  const names = files.flatMap(({ text }) =>
    [...text.matchAll(/%([A-Z][A-Z0-9_]*)%/g)].map(([, name]) => name!),
  );
  const configuration = readConfiguration(
    files.map(({ file, text }) => ({ file: `config/${file}`, text })),
    Object.fromEntries(names.map((name) => [name, `the ${name}`])),
    new Map([
      ["graph", anySettings],
      ["ad", anySettings],
    ]),
  );
  const directory = [...configuration.connectors.values()].find(({ kind }) => kind === "ad")!;
  const user = directory.objectTypes.find(({ name }) => name === "user")!;
  return { configuration, connector: directory.name, attributes: new Set(user.attributes) };
}

/** An employee with a mailbox. */
export function sampleUser(
  index: number,
  selected: ReadonlySet<string>,
): { readonly dn: string; readonly attributes: Readonly<Record<string, AttributeValue>> } {
  const name = `user${index}`;
  const dn = `CN=User ${index},OU=Staff,OU=CORP,DC=contoso,DC=com`;
  const bytes = (length: number) => Uint8Array.from({ length }, (_, at) => (index >> (8 * (at % 4))) & 0xff);
  const all: Record<string, AttributeValue> = {
    cn: `User ${index}`,
    displayName: `User ${index}`,
    givenName: "User",
    sn: `Number ${index}`,
    sAMAccountName: name,
    userPrincipalName: `${name}@contoso.com`,
    mail: `${name}@contoso.com`,
    mailNickname: name,
    proxyAddresses: [`SMTP:${name}@contoso.com`, `smtp:${name}@contoso.onmicrosoft.com`],
    legacyExchangeDN: `/o=Contoso/ou=Exchange Administrative Group/cn=Recipients/cn=${name}`,
    msExchRecipientTypeDetails: 1n,
    msExchRecipientDisplayType: 1_073_741_824n,
    msExchMailboxGuid: bytes(16),
    company: "Contoso",
    department: `Department ${index % 20}`,
    title: "Clerk",
    telephoneNumber: `+49 30 ${100_000 + index}`,
    co: "Germany",
    c: "DE",
    l: "Berlin",
    postalCode: "10115",
    streetAddress: "Invalidenstraße 1",
    physicalDeliveryOfficeName: `Room ${index % 300}`,
    manager: reference(`CN=User ${index >> 3},OU=Staff,OU=CORP,DC=contoso,DC=com`),
    extensionAttribute1: `cost centre ${index % 50}`,
    userAccountControl: 512n,
    pwdLastSet: 133_000_000_000_000_000n,
    objectGUID: bytes(16),
    objectSid: Uint8Array.from([1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, ...bytes(16)]),
  };
  return { dn, attributes: Object.fromEntries(Object.entries(all).filter(([key]) => selected.has(key))) };
}
