/**
 * Proves that every guest has the account that the guest recipe wants, by asking Graph who the guests are and reading
 * the directory over LDAPS. It shares nothing with the engine: neither its tables nor its connectors.
 */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { DefaultAzureCredential } from "@azure/identity";
import { Client } from "ldapts";

/** The app settings that say where Graph and the directory are. */
export type PeerSettings = Readonly<Record<string, string | undefined>>;

export interface Verification {
  readonly guests: number;
  /** Guests whose account is there and right. */
  readonly right: number;
  /** What is wrong, one sentence each, without end. */
  readonly problems: readonly string[];
}

interface Guest {
  readonly id: string;
  readonly userPrincipalName: string;
  readonly displayName: string | null;
  readonly givenName: string | null;
  readonly surname: string | null;
  readonly mail: string | null;
  readonly accountEnabled: boolean | null;
  readonly externalUserState: string | null;
}

/** The `dn` and the attributes that rules write, as text. */
export type Account = Readonly<Record<string, string>>;

const guestProperties = [
  ...["id", "userPrincipalName", "displayName", "givenName", "surname", "mail"],
  ...["userType", "accountEnabled", "externalUserState"],
];
const accountAttributes = [
  ...["adminDescription", "sAMAccountName", "userPrincipalName", "displayName", "givenName", "sn", "mail"],
  ...["employeeType", "userAccountControl"],
];

const smartcardRequired = 262_144;
const normalAccount = 512;
const accountDisabled = 2;

/** @throws Error when Graph or the directory cannot be read */
export async function verifyAccounts(settings: PeerSettings): Promise<Verification> {
  const [guests, accounts] = await Promise.all([readGuests(settings), readAccounts(settings)]);
  const byStamp = Map.groupBy(accounts, (account) => account.adminDescription ?? "");
  const problems: string[] = [];
  let right = 0;
  for (const guest of guests) {
    const wrong = compare(guest, byStamp.get(`User_${guest.id}`) ?? []);
    if (wrong.length === 0) right++;
    else problems.push(`${guest.displayName ?? ""} (${guest.id}): ${wrong.join("; ")}`);
  }
  return { guests: guests.length, right, problems };
}

/** What differs between the accounts that carry a guest's stamp and the one that should; empty when nothing does. */
function compare(guest: Guest, accounts: readonly Account[]): string[] {
  const [account, ...others] = accounts;
  if (account === undefined) return ["no account"];
  if (others.length > 0) return [`${accounts.length} accounts: ${accounts.map(({ dn }) => dn).join(" | ")}`];
  const disabled = guest.accountEnabled === false || guest.externalUserState === "PendingAcceptance";
  const wanted: Record<string, string | null> = {
    sAMAccountName: guest.id.slice(0, 20),
    userPrincipalName: guest.userPrincipalName,
    displayName: guest.displayName,
    givenName: guest.givenName,
    sn: guest.surname,
    mail: guest.mail,
    employeeType: "Guest",
    userAccountControl: String(smartcardRequired + normalAccount + (disabled ? accountDisabled : 0)),
  };
  return Object.entries(wanted)
    .filter(([name, value]) => (account[name] ?? "") !== (value ?? ""))
    .map(([name, value]) => `${name} is "${account[name] ?? ""}", not "${value ?? ""}"`);
}

async function readGuests(settings: PeerSettings): Promise<Guest[]> {
  const base = (settings.GRAPH_BASE_URL ?? "https://graph.microsoft.com").replace(/\/+$/, "");
  const ca = pem(settings.GRAPH_CA_CERTIFICATE);
  const token =
    settings.GRAPH_ACCESS_TOKEN ?? (await new DefaultAzureCredential().getToken(`${base}/.default`)).token;
  const query = new URLSearchParams({
    $filter: "userType eq 'Guest'",
    $select: guestProperties.join(","),
    $top: "999",
  });
  const guests: Guest[] = [];
  for (let next: string | undefined = `${base}/v1.0/users?${query}`; next !== undefined; ) {
    const page: GraphPage = await getJson(next, token, ca);
    guests.push(...page.value);
    next = page["@odata.nextLink"];
  }
  return guests;
}

interface GraphPage {
  readonly value: readonly Guest[];
  readonly "@odata.nextLink"?: string;
}

function getJson(url: string, token: string, ca: string | undefined): Promise<GraphPage> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, accept: "application/json" };
    const call = request(url, { headers, ...(ca === undefined ? {} : { ca }) }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        if (response.statusCode === 200) resolve(JSON.parse(text) as GraphPage);
        else reject(new Error(`Graph answered ${response.statusCode} to ${url}: ${text.slice(0, 500)}`));
      });
    });
    call.on("error", reject).end();
  });
}

/** Every account in the guest OU, with its attributes as text. */
export async function readAccounts(settings: PeerSettings): Promise<Account[]> {
  const required = (name: string): string => {
    const value = settings[name];
    if (value === undefined) throw new Error(`${name} is not set: the accounts cannot be verified.`);
    return value;
  };
  const ca = pem(settings.AD_CA_CERTIFICATE);
  const servername = settings.AD_SERVER_NAME;
  const client = new Client({
    url: required("AD_URL"),
    timeout: 60_000,
    connectTimeout: 10_000,
    tlsOptions: {
      ...(ca === undefined ? {} : { ca: [ca] }),
      ...(servername === undefined ? {} : { servername }),
    },
  });
  try {
    await client.bind(required("AD_BIND_DN"), required("AD_BIND_PASSWORD"));
    const { searchEntries } = await client.search(required("GUEST_OU"), {
      scope: "sub",
      filter: "(&(objectCategory=person)(objectClass=user))",
      attributes: accountAttributes,
      paged: { pageSize: 500 },
      timeLimit: 0,
    });
    return searchEntries.map((entry) =>
      Object.fromEntries(
        Object.entries(entry)
          // An attribute that the entry does not have comes as an empty list.
          .filter(([, value]) => !Array.isArray(value) || value.length > 0)
          .map(([name, value]) => [name, String(value)]),
      ),
    );
  } finally {
    await client.unbind();
  }
}

/** A certificate given as PEM text or as the path of a file. */
function pem(textOrFile: string | undefined): string | undefined {
  if (textOrFile === undefined || textOrFile.includes("-----BEGIN")) return textOrFile;
  return readFileSync(textOrFile, "utf8");
}
