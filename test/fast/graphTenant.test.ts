import { describe, expect, test } from "vitest";
import type { UserProperties } from "../../sandbox/graph/properties.ts";
import { fitsType, propertyTypes } from "../../sandbox/graph/properties.ts";
import type { TenantEvent } from "../../sandbox/graph/store.ts";
import { TenantStore } from "../../sandbox/graph/store.ts";
import { generateTenant, guestUser, kindsOfNames } from "../../sandbox/graph/tenant.ts";

const at = Date.UTC(2026, 0, 1);

function usersOf(options: { seed: number; guests: number; members: number }): UserProperties[] {
  const tenant = generateTenant(options);
  return Array.from({ length: tenant.size }, (_, position) => tenant.userAt(position));
}

const guests = usersOf({ seed: 1, guests: 40, members: 20 }).filter((user) => user.userType === "Guest");

describe("the seeded tenant", () => {
  test("is the same for the same seed and another for another", () => {
    const options = { seed: 7, guests: 50, members: 10 };
    expect(usersOf(options)).toEqual(usersOf(options));
    expect(usersOf({ ...options, seed: 8 })).not.toEqual(usersOf(options));
  });

  test("keeps its guests when it has more of them, or other members", () => {
    const small = usersOf({ seed: 1, guests: 10, members: 2 }).slice(2);
    expect(usersOf({ seed: 1, guests: 30, members: 5 }).slice(5, 15)).toEqual(small);
  });

  test("has distinct version 4 ids and principal names, also where account names cut the id", () => {
    const users = usersOf({ seed: 3, guests: 5_000, members: 500 });
    expect(new Set(users.map((user) => String(user.id).slice(0, 20))).size).toBe(users.length);
    expect(new Set(users.map((user) => String(user.userPrincipalName).toLowerCase())).size).toBe(
      users.length,
    );
    for (const { id } of users) {
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
  });

  test("knows each user by its principal name in any case, and nobody by another", () => {
    const tenant = generateTenant({ seed: 2, guests: 300, members: 40 });
    for (let position = 0; position < tenant.size; position += 1) {
      const name = String(tenant.userAt(position).userPrincipalName);
      expect(tenant.positionOfPrincipalName(name.toUpperCase())).toBe(position);
      expect(tenant.positionOfPrincipalName(`x${name}`)).toBeUndefined();
    }
    expect(tenant.positionOfPrincipalName("nobody@contoso.onmicrosoft.com")).toBeUndefined();
  });

  test("keeps within what Active Directory and Entra accept, for any seed", () => {
    const limits = {
      displayName: 256,
      givenName: 64,
      surname: 64,
      mail: 256,
      userPrincipalName: 113,
    } as const;
    for (const seed of [1, 2, 99]) {
      for (const user of usersOf({ seed, guests: 400, members: 50 })) {
        for (const [name, limit] of Object.entries(limits)) {
          const value = user[name];
          if (value !== undefined)
            expect(String(value).length, `${name} of ${user.id}`).toBeLessThanOrEqual(limit);
        }
        expect(user.displayName).toBeTruthy();
      }
    }
    const last = guestUser(1, 199_999);
    expect(String(last.userPrincipalName).length).toBeLessThanOrEqual(113);
  });

  test("gives every property a value of its type", () => {
    for (const user of usersOf({ seed: 1, guests: 100, members: 50 })) {
      for (const [name, value] of Object.entries(user)) {
        expect(propertyTypes.has(name), name).toBe(true);
        expect(fitsType(name, value), `${name} of ${user.id}`).toBe(true);
      }
    }
  });
});

describe("forty guests already hold", () => {
  const has = (what: string, predicate: (user: UserProperties) => boolean) =>
    test(what, () => expect(guests.filter(predicate).length).toBeGreaterThan(0));
  const inScript = (script: string) => (user: UserProperties) =>
    new RegExp(`\\p{Script=${script}}`, "u").test(String(user.displayName));

  test("every kind of name twice", () => expect(guests.length).toBe(2 * kindsOfNames.length));
  has("accepted", (user) => user.externalUserState === "Accepted" && user.accountEnabled === true);
  has("pending", (user) => user.externalUserState === "PendingAcceptance");
  has("blocked", (user) => user.accountEnabled === false);
  has("no invitation state", (user) => !("externalUserState" in user));
  has("no surname", (user) => !("surname" in user) && "givenName" in user);
  has("no given name", (user) => !("givenName" in user) && "surname" in user);
  has("neither", (user) => !("givenName" in user) && !("surname" in user));
  has("no mail", (user) => !("mail" in user));
  for (const script of ["Arabic", "Han", "Cyrillic", "Greek", "Thai"]) {
    has(`${script} letters`, inScript(script));
  }
  has("combining accents", (user) => user.displayName !== String(user.displayName).normalize("NFC"));
  has("a display name of 256 characters", (user) => String(user.displayName).length === 256);
  has("names of 64 characters", (user) =>
    [user.givenName, user.surname].every((name) => String(name).length === 64),
  );
  has("a comma", (user) => /^\S+, /.test(String(user.displayName)));
  has("both quotes", (user) => /".*'|'.*"/.test(String(user.displayName)));
  for (const character of "+;<>#\\=") {
    has(`a ${character}`, (user) => String(user.displayName).includes(character));
  }
  has("blanks at both ends", (user) => /^ .* $/.test(String(user.displayName)));
  has("characters beyond the basic plane", (user) =>
    /[\u{10000}-\u{10ffff}]/u.test(String(user.displayName)),
  );
  test("equal display names", () => {
    const names = guests.map((user) => user.displayName);
    expect(new Set(names).size).toBeLessThan(names.length);
  });
  test("and the members some without userType", () => {
    const members = usersOf({ seed: 1, guests: 0, members: 20 });
    expect(members.filter((user) => !("userType" in user)).length).toBe(2);
  });
});

describe("the store", () => {
  const seeded = generateTenant({ seed: 1, guests: 5, members: 2 });
  const guest = seeded.userAt(2);
  const id = String(guest.id);
  const upn = String(guest.userPrincipalName);

  function recording(): { store: TenantStore; events: TenantEvent[] } {
    const events: TenantEvent[] = [];
    return { store: new TenantStore(seeded, [], (added) => events.push(...added)), events };
  }

  test("replayed events give the same users and the same changes", () => {
    const { store, events } = recording();
    store.addGuests(2, { department: "Sales" }, at);
    store.change(id, { displayName: "Renamed", mobilePhone: null }, at + 1);
    store.delete(String(seeded.idAt(3)), at + 2);
    store.restore(String(seeded.idAt(3)), at + 3);
    store.purge(String(seeded.idAt(4)), at + 4);
    const replayed = new TenantStore(seeded, events);
    expect(replayed.version).toBe(store.version);
    expect(replayed.changesBetween(0, store.version)).toEqual(store.changesBetween(0, store.version));
    for (let ordinal = 0; ordinal < store.end; ordinal += 1) {
      expect(replayed.at(ordinal)).toEqual(store.at(ordinal));
    }
    // The next guest continues the sequence instead of repeating one.
    expect(replayed.addGuests(1, {}, at)[0]!.id).toBe(guestUser(1, 7).id);
  });

  test("a user is found by id and by principal name in any case", () => {
    const { store } = recording();
    expect(store.find(id.toUpperCase())?.properties).toEqual(guest);
    expect(store.find(upn.toUpperCase())?.id).toBe(id);
    store.change(id, { userPrincipalName: "new@contoso.com" }, at);
    expect(store.find(upn)).toBeUndefined();
    expect(store.find("NEW@contoso.com")?.id).toBe(id);
  });

  test("deleting mangles the principal name and frees it; restoring needs it back", () => {
    const { store } = recording();
    const deleted = store.delete(id, at);
    expect(deleted.properties.userPrincipalName).toBe(id.replaceAll("-", "") + upn);
    expect(deleted.properties.deletedDateTime).toBe("2026-01-01T00:00:00Z");
    const [successor] = store.addGuests(1, { userPrincipalName: upn }, at);
    expect(() => store.restore(id, at)).toThrow("userPrincipalName already exists");
    store.purge(successor!.id, at);
    expect(store.restore(id, at).properties).toEqual(guest);
  });

  test("a value that is equal already is no change", () => {
    const { store, events } = recording();
    store.change(id, { displayName: guest.displayName!, otherMails: guest.otherMails!, faxNumber: null }, at);
    expect(events).toEqual([]);
  });

  test("refuses what a user cannot have", () => {
    const { store, events } = recording();
    expect(() => store.change(id, { nickname: "x" }, at)).toThrow("no property 'nickname'");
    expect(() => store.change(id, { accountEnabled: "yes" }, at)).toThrow("must be boolean");
    expect(() => store.change(id, { userPrincipalName: null }, at)).toThrow("userPrincipalName");
    expect(() => store.change("nobody", {}, at)).toThrow("does not exist");
    expect(() => store.addGuests(1, { userPrincipalName: upn }, at)).toThrow("already exists");
    expect(events).toEqual([]);
  });

  test("an invitation by mail takes its principal name from the address", () => {
    const { store } = recording();
    const [ann] = store.addGuests(1, { mail: "ann@fabrikam.com", surname: null }, at);
    expect(ann!.properties).toMatchObject({
      userPrincipalName: "ann_fabrikam.com#EXT#@contoso.onmicrosoft.com",
      otherMails: ["ann@fabrikam.com"],
      createdDateTime: "2026-01-01T00:00:00Z",
    });
    expect(ann!.properties).not.toHaveProperty("surname");
  });
});
