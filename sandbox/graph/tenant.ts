/**
 * The seeded tenant: which users it has before anybody changes anything.
 *
 * A pure function of seed and position: every user is derived when it is asked for, so a tenant of 200,000
 * guests costs nothing but its ids. Guests cycle through 20 kinds of names and through states with periods 7
 * and 11, so 40 guests already hold every kind, and two guests of one kind differ in state.
 *
 * The attributes are legal in Active Directory: displayName and mail up to 256 characters, givenName and sn up to
 * 64, userPrincipalName up to 113 (Entra's limit).
 */

import type { UserProperties } from "./properties.ts";

export const tenantDomain = "contoso.onmicrosoft.com";

export interface TenantOptions {
  readonly seed: number;
  readonly guests: number;
  readonly members: number;
}

/** Users by position: members first, then guests. */
export interface SeededTenant extends TenantOptions {
  readonly size: number;
  idAt(position: number): string;
  userAt(position: number): UserProperties;
  isGuestAt(position: number): boolean;
  /** The user whose seeded principal name this is, in any case. */
  positionOfPrincipalName(name: string): number | undefined;
}

export function generateTenant(options: TenantOptions): SeededTenant {
  const { seed, guests, members } = options;
  const size = members + guests;
  const userAt = (position: number) =>
    position < members ? memberUser(seed, position) : guestUser(seed, position - members);
  return {
    ...options,
    size,
    idAt: (position) => (position < members ? memberId(seed, position) : guestId(seed, position - members)),
    userAt,
    isGuestAt: (position) => position >= members,
    positionOfPrincipalName: (name) => {
      // Every seeded name carries its user's number, so no index of 200,000 names is needed.
      const [, number, guest] = /(\d+)(_[^_@#]+#ext#)?@[^@]+$/i.exec(name) ?? [];
      if (number === undefined) return undefined;
      const position = Number(number) + (guest === undefined ? 0 : members);
      if (position >= (guest === undefined ? members : size)) return undefined;
      const seeded = String(userAt(position).userPrincipalName);
      return seeded.toLowerCase() === name.toLowerCase() ? position : undefined;
    },
  };
}

/** Guest number `index` of the endless sequence of this seed. Guests invited later continue the sequence. */
export function guestUser(seed: number, index: number): UserProperties {
  const id = guestId(seed, index);
  const choose = chooser(seed, index * 2 + 1);
  const name = kindsOfNames[index % kindsOfNames.length]!(choose);
  const domain = choose(partnerDomains);
  const local = `${name.alias}${index}`;
  const mail = name.withoutMail === true ? undefined : `${name.mailAlias ?? name.alias}${index}@${domain}`;
  const userPrincipalName = `${local}_${domain}#EXT#@${tenantDomain}`;

  const pending = index % 7 === 2;
  const blocked = index % 7 === 4;
  // Guests that were made in the portal or converted from members carry no invitation state.
  const neverInvited = !pending && !blocked && index % 11 === 9;
  const invitedMs = instantMs(seed, index * 2 + 1);
  const acceptedMs = invitedMs + 3_600_000 * (1 + choose.number(300));

  return withoutUndefined({
    id,
    accountEnabled: !blocked,
    businessPhones: [],
    companyName: choose.number(3) === 0 ? undefined : choose(companies),
    createdDateTime: isoSeconds(invitedMs),
    creationType: neverInvited ? undefined : "Invitation",
    department: choose.number(4) === 0 ? choose(departments) : undefined,
    displayName: name.displayName,
    externalUserState: neverInvited ? undefined : pending ? "PendingAcceptance" : "Accepted",
    externalUserStateChangeDateTime: neverInvited ? undefined : isoSeconds(pending ? invitedMs : acceptedMs),
    givenName: name.givenName,
    identities: [
      ...(pending || neverInvited
        ? []
        : [{ signInType: "federated", issuer: choose(issuers), issuerAssignedId: null }]),
      { signInType: "userPrincipalName", issuer: tenantDomain, issuerAssignedId: userPrincipalName },
    ],
    jobTitle: choose.number(3) === 0 ? choose(jobTitles) : undefined,
    mail,
    mailNickname: `${local}_${domain}#EXT#`,
    mobilePhone: choose.number(5) === 0 ? `+49 30 ${100_000 + choose.number(899_999)}` : undefined,
    otherMails: mail === undefined ? [] : [mail],
    proxyAddresses: mail === undefined ? [] : [`SMTP:${mail}`],
    surname: name.surname,
    userPrincipalName,
    userType: "Guest",
  });
}

function memberUser(seed: number, index: number): UserProperties {
  const choose = chooser(seed, index * 2);
  const givenName = choose(givenNames);
  const surname = choose(surnames);
  const local = `${givenName}.${surname}${index}`.toLowerCase();
  const userPrincipalName = `${local}@${tenantDomain}`;
  return withoutUndefined({
    id: memberId(seed, index),
    accountEnabled: index % 9 !== 5,
    businessPhones: [`+49 89 ${10_000 + index}`],
    createdDateTime: isoSeconds(instantMs(seed, index * 2)),
    department: choose(departments),
    displayName: `${givenName} ${surname}`,
    givenName,
    identities: [
      { signInType: "userPrincipalName", issuer: tenantDomain, issuerAssignedId: userPrincipalName },
    ],
    jobTitle: choose(jobTitles),
    mail: `${local}@contoso.com`,
    mailNickname: local,
    officeLocation: `${1 + choose.number(5)}/${100 + choose.number(900)}`,
    otherMails: [],
    preferredLanguage: "en-US",
    proxyAddresses: [`SMTP:${local}@contoso.com`],
    surname,
    usageLocation: "DE",
    userPrincipalName,
    // Accounts older than the property have no userType.
    userType: index % 10 === 7 ? undefined : "Member",
  });
}

interface Name {
  readonly displayName: string;
  readonly givenName?: string;
  readonly surname?: string;
  /** ASCII, lower case: the part of mail and user principal name that a person would recognise. */
  readonly alias: string;
  readonly mailAlias?: string;
  readonly withoutMail?: true;
}

function person(givenName: string, surname: string, alias: string, displayName?: string): Name {
  return { displayName: displayName ?? `${givenName} ${surname}`, givenName, surname, alias };
}

function plain(choose: Chooser): Name {
  const givenName = choose(givenNames);
  const surname = choose(surnames);
  return person(givenName, surname, `${givenName}.${surname}`.toLowerCase());
}

/** A name in another script: [given name, surname, alias, surname first]. */
function inScript(choices: readonly (readonly [string, string, string])[], surnameFirst = false) {
  return (choose: Chooser): Name => {
    const [givenName, surname, alias] = choose(choices);
    return person(givenName, surname, alias, surnameFirst ? `${surname}${givenName}` : undefined);
  };
}

const longPart = "Wolfeschlegelsteinhausenbergerdorff".repeat(2).slice(0, 64);

export const kindsOfNames: readonly ((choose: Chooser) => Name)[] = [
  plain,
  inScript([
    ["محمد", "الأحمد", "m.alahmad"],
    ["فاطمة", "بن علي", "f.benali"],
  ]),
  // No surname.
  (choose) => {
    const givenName = choose(givenNames);
    return { displayName: givenName, givenName, alias: givenName.toLowerCase() };
  },
  inScript(
    [
      ["伟", "王", "wei.wang"],
      ["秀英", "李", "xiuying.li"],
    ],
    true,
  ),
  // The display name many tenants impose: surname, comma, given name, a note in brackets.
  (choose) => {
    const name = plain(choose);
    return { ...name, displayName: `${name.surname}, ${name.givenName} (External)` };
  },
  inScript([
    ["Иван", "Петров", "ivan.petrov"],
    ["Наталия", "Щербакова", "n.shcherbakova"],
  ]),
  // Both kinds of quotes.
  (choose) => {
    const givenName = choose(["Robert", "Siobhán"]);
    const surname = choose(["O'Neill", "D’Arcy"]);
    return person(givenName, surname, "r.oneill", `${givenName} "Bob" ${surname}`);
  },
  inScript([
    ["Ελένη", "Παπαδοπούλου", "e.papadopoulou"],
    ["Γιώργος", "Οικονόμου", "g.oikonomou"],
  ]),
  // No given name.
  (choose) => {
    const surname = choose(surnames);
    return { displayName: surname, surname, alias: surname.toLowerCase() };
  },
  inScript([
    ["สมชาย", "ใจดี", "somchai.jaidee"],
    ["มาลี", "แสงทอง", "malee.saengthong"],
  ]),
  // Combining accents, not normalised: one character on the screen, two in the value.
  (choose) => {
    const givenName = choose(["Zoë", "Renée", "Søren"]).normalize("NFD");
    const surname = choose(["Müller", "Nuñez", "Nguyễn"]).normalize("NFD");
    return person(givenName, surname, "zoe.mueller");
  },
  // Every name as long as it may be.
  () => ({
    displayName: `${longPart} ${"Hubert Blaine ".repeat(20)}`.slice(0, 255).padEnd(256, "x"),
    givenName: `Adolph Blaine Charles ${"David ".repeat(8)}`.slice(0, 63).padEnd(64, "x"),
    surname: longPart,
    alias: "wolfeschlegelsteinhausenbergerdorff",
  }),
  // Every character that a distinguished name must escape.
  () => ({
    displayName: `#1 A+B; C<D>E=F\\G, "H" / I`,
    givenName: `A+B;<C>`,
    surname: `#D=E\\F,"G"`,
    alias: "special",
    mailAlias: "special+tag",
  }),
  // Equal display names.
  () => person("Maria", "Garcia", "maria.garcia"),
  inScript([
    ["태희", "김", "taehee.kim"],
    ["ミキ", "タナカ", "miki.tanaka"],
    ["דוד", "כהן", "david.cohen"],
    ["प्रिया", "शर्मा", "priya.sharma"],
  ]),
  // Blanks before, after and doubled within.
  () => person("Jean ", " Dupont", "jean.dupont", " Jean  Dupont "),
  // Neither given name nor surname: what an invitation by mail leaves.
  (choose) => {
    const alias = `${choose(givenNames)}.${choose(surnames)}`.toLowerCase();
    return { displayName: alias, alias };
  },
  // No mail address.
  (choose) => ({ ...plain(choose), withoutMail: true }),
  // Letters whose upper and lower case differ in length or by language.
  (choose) => person(choose(["İpek", "Łukasz"]), choose(["Weiß", "Yıldız"]), "ipek.weiss"),
  // Characters beyond the basic plane, and a right-to-left mark.
  (choose) => person(choose(["太郎", "花子"]), "𠮷野", "yoshino", "𠮷野 太郎\u200f"),
];

const givenNames = ["Anna", "Ben", "Clara", "David", "Elif", "Frank", "Grace", "Hugo", "Ines", "Jonas"];
const surnames = ["Schmidt", "Jensen", "Rossi", "Novak", "Dubois", "Virtanen", "Silva", "Walker", "Kowalski"];
const partnerDomains = [
  "fabrikam.com",
  "adatum.com",
  "northwindtraders.com",
  "tailspintoys.co.uk",
  "outlook.com",
  "gmail.com",
  "wingtip-partners.example",
];
const companies = ["Fabrikam", "A. Datum", "Northwind Traders", "Tailspin Toys", "Wingtip Partners"];
const departments = ["Finance", "Research & Development", "Purchasing", "Legal"];
const jobTitles = ["Consultant", "Auditor", "Project Manager", "Engineer"];
const issuers = ["ExternalAzureAD", "MicrosoftAccount", "google.com", "mail"];

interface Chooser {
  <T>(choices: readonly T[]): T;
  /** A whole number from 0 to `below` - 1. */
  number(below: number): number;
}

/** Choices that depend on seed and stream alone. */
function chooser(seed: number, stream: number): Chooser {
  let step = 0;
  const number = (below: number): number => {
    step += 1;
    return mix(mix(seed ^ 0x5bd1e995) ^ Math.imul(stream, 0x9e3779b1) ^ Math.imul(step, 0x85ebca6b)) % below;
  };
  const choose = <T>(choices: readonly T[]): T => choices[number(choices.length)]!;
  return Object.assign(choose, { number });
}

/** A bijection of 32-bit numbers that scatters them (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function memberId(seed: number, index: number): string {
  return guid(seed, index * 2);
}

function guestId(seed: number, index: number): string {
  return guid(seed, index * 2 + 1);
}

/** A version 4 GUID. Its first 32 bits are a bijection of the stream, so two of one seed never meet. */
function guid(seed: number, stream: number): string {
  const base = mix(seed ^ 0x2545f491);
  let hex = "";
  for (let word = 0; word < 4; word += 1) {
    const value = mix(mix(stream ^ base) ^ Math.imul(word + 1, 0x9e3779b1) ^ mix(base + word));
    hex += value.toString(16).padStart(8, "0");
  }
  const variant = "89ab"[Number.parseInt(hex[16]!, 16) % 4];
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
}

const firstInstantMs = Date.UTC(2021, 0, 4, 8);
const instantsSpanMs = 4 * 365 * 86_400_000;

function instantMs(seed: number, stream: number): number {
  return firstInstantMs + (mix(mix(seed ^ 0x3c6ef372) ^ stream) / 2 ** 32) * instantsSpanMs;
}

export function isoSeconds(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function withoutUndefined(properties: Record<string, UserProperties[string] | undefined>): UserProperties {
  return Object.fromEntries(
    Object.entries(properties).filter((entry): entry is [string, UserProperties[string]] => {
      return entry[1] !== undefined;
    }),
  );
}
