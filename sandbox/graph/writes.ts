/** What the service accepts in a user that is created, invited or changed. */
import { randomUUID } from "node:crypto";
import { groupResource } from "./groupProperties.ts";
import { badRequest, GraphFault } from "./odata.ts";
import type { Json, UserProperties } from "./properties.ts";
import { fitsType, propertyTypes, readOnlyProperties } from "./properties.ts";
import { isoSeconds, tenantDomain } from "./tenant.ts";

/** Most characters of a text: https://learn.microsoft.com/graph/api/resources/user */
const lengthMax: ReadonlyMap<string, number> = new Map([
  ["city", 128],
  ["companyName", 64],
  ["country", 128],
  ["department", 64],
  ["displayName", 256],
  ["employeeId", 16],
  ["givenName", 64],
  ["jobTitle", 128],
  ["mailNickname", 64],
  ["mobilePhone", 64],
  ["officeLocation", 128],
  ["postalCode", 40],
  ["state", 128],
  ["streetAddress", 1024],
  ["surname", 64],
  ["userPrincipalName", 113],
]);
const verifiedDomains = [tenantDomain, "contoso.com"];

export function requireObject(body: Json | undefined): UserProperties {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as UserProperties;
  throw new GraphFault(400, "Request_BadRequest", "The request body must be a JSON object.");
}

/** @throws GraphFault as the service words it */
export function newUser(body: UserProperties, nowMs: number): UserProperties {
  const { passwordProfile, ...properties } = body;
  for (const name of ["accountEnabled", "displayName", "mailNickname", "userPrincipalName"]) {
    if ((properties[name] ?? null) === null) throw invalid(name, "A value is required for property");
  }
  const password = (passwordProfile as { password?: unknown } | undefined)?.password;
  if (typeof password !== "string") throw invalid("passwordProfile", "A value is required for property");
  requireComplexity(password);
  return {
    userType: "Member",
    businessPhones: [],
    ...withoutNulls(userChanges({}, properties)),
    id: randomUUID(),
    createdDateTime: isoSeconds(nowMs),
  };
}

/** The whole values of what a PATCH changes: parts of a structure leave its other parts as they are. */
export function userChanges(present: UserProperties, body: UserProperties): UserProperties {
  const { passwordProfile, ...properties } = body;
  const password = (passwordProfile as { password?: unknown } | undefined)?.password;
  if (typeof password === "string") requireComplexity(password);
  const changes: Record<string, Json> = {};
  for (const [name, value] of Object.entries(properties)) {
    if (readOnlyProperties.has(name)) {
      throw new GraphFault(400, "Request_BadRequest", `Property '${name}' is read-only and cannot be set.`);
    }
    if (!propertyTypes.has(name) || propertyTypes.get(name) === "navigation")
      throw badRequest(`The property '${name}' does not exist on type 'microsoft.graph.user'.`);
    if (value === null && ["displayName", "accountEnabled", "mailNickname"].includes(name))
      throw invalid(name);
    const tooLong = typeof value === "string" && value.length > (lengthMax.get(name) ?? 4096);
    if (value === "" || tooLong) throw invalid(name);
    if (name === "userPrincipalName") requireVerifiedDomain(String(value));
    const isStructure = typeof value === "object" && value !== null && !Array.isArray(value);
    changes[name] = isStructure ? { ...(present[name] as UserProperties | undefined), ...value } : value;
  }
  return changes;
}

/**
 * The properties that a request gives a group.
 * @param present of the group that is changed; undefined for a new one
 * @throws GraphFault as the service words it
 */
export function checkedGroup(present: UserProperties | undefined, body: UserProperties): UserProperties {
  for (const [name, value] of Object.entries(body)) {
    const type = groupResource.propertyTypes.get(name);
    if (type === undefined || type === "navigation")
      throw badRequest(`The property '${name}' does not exist on type 'microsoft.graph.group'.`);
    if (groupResource.readOnlyProperties.has(name))
      throw new GraphFault(400, "Request_BadRequest", `Property '${name}' is read-only and cannot be set.`);
    if (!fitsType(name, value, groupResource) || value === "") throw invalidOf("Group", name);
  }
  const { displayName, mailNickname } = body;
  if (typeof displayName === "string" && displayName.length > 256) throw invalidOf("Group", "displayName");
  if (typeof mailNickname === "string" && !/^[^@()\\[\]";:.<>, \u0080-\uffff]{1,64}$/.test(mailNickname))
    throw invalidOf("Group", "mailNickname");
  const required = ["displayName", "mailEnabled", "mailNickname", "securityEnabled"];
  const missing = required.find((name) => (present === undefined ? !(name in body) : body[name] === null));
  if (missing !== undefined) throw invalidOf("Group", missing, "A value is required for property");
  if (present !== undefined) return body;
  const types = (body.groupTypes ?? []) as readonly string[];
  if (body.mailEnabled === true && !types.includes("Unified"))
    throw badRequest(
      "The service does not currently support writes of mail-enabled groups. Please ensure that the mail-enablement property is unset and the security-enablement property is set.",
    );
  return { groupTypes: [], ...withoutNulls(body) };
}

export interface InvitedGuest {
  readonly mail: string;
  readonly redirectUrl: string;
  /** Of the guest, should there be none yet. */
  readonly properties: UserProperties;
}

export function invitedGuest(body: UserProperties, nowMs: number): InvitedGuest {
  const { invitedUserEmailAddress: mail, inviteRedirectUrl: redirectUrl, invitedUserDisplayName } = body;
  if (typeof mail !== "string" || !/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(mail)) {
    throw new GraphFault(400, "BadRequest", "The invited user email address is not valid.");
  }
  if (typeof redirectUrl !== "string" || !URL.canParse(redirectUrl)) {
    throw new GraphFault(400, "BadRequest", "The redirect URL is not valid.");
  }
  const nickname = `${mail.replace(/@/, "_").replace(/[^A-Za-z0-9'._-]/g, "")}#EXT#`;
  const properties: UserProperties = {
    id: randomUUID(),
    accountEnabled: true,
    businessPhones: [],
    createdDateTime: isoSeconds(nowMs),
    creationType: "Invitation",
    displayName: typeof invitedUserDisplayName === "string" ? invitedUserDisplayName : mail.split("@")[0]!,
    externalUserState: "PendingAcceptance",
    externalUserStateChangeDateTime: isoSeconds(nowMs),
    mail,
    mailNickname: nickname,
    otherMails: [mail],
    proxyAddresses: [`SMTP:${mail}`],
    userPrincipalName: `${nickname}@${tenantDomain}`,
    userType: "Guest",
  };
  return { mail, redirectUrl, properties };
}

function requireVerifiedDomain(userPrincipalName: string): void {
  const [, domain = ""] = /@([^@]+)$/.exec(userPrincipalName) ?? [];
  if (verifiedDomains.includes(domain.toLowerCase())) return;
  throw new GraphFault(
    400,
    "Request_BadRequest",
    "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain names in your organization.",
  );
}

function requireComplexity(password: string): void {
  const classes = [/[a-z]/, /[A-Z]/, /\d/, /[^A-Za-z\d]/].filter((one) => one.test(password)).length;
  if (password.length >= 8 && password.length <= 256 && classes >= 3) return;
  throw new GraphFault(
    400,
    "Request_BadRequest",
    "The specified password does not comply with password complexity requirements. Please provide a different password.",
  );
}

function invalid(name: string, what = "Invalid value specified for property"): GraphFault {
  return invalidOf("User", name, what);
}

function invalidOf(
  resource: string,
  name: string,
  what = "Invalid value specified for property",
): GraphFault {
  return new GraphFault(400, "Request_BadRequest", `${what} '${name}' of resource '${resource}'.`);
}

function withoutNulls(properties: UserProperties): UserProperties {
  return Object.fromEntries(Object.entries(properties).filter(([, value]) => value !== null));
}
