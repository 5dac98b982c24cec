#!/bin/bash
# A real Samba Active Directory domain controller (its LDAP service only) on a loopback address.
#
#   samba-dc.sh install   Debian packages, when missing
#   samba-dc.sh prepare   install, certificate authority, domain, guest OU and service account; nothing is started
#   samba-dc.sh run       the server in the foreground; it ends when its standard input is a pipe that closes
#   samba-dc.sh up        prepare, then the server in the background
#   samba-dc.sh down      stop it
#   samba-dc.sh restore   the state that `prepare` left (the server must be down)
#   samba-dc.sh reset     down, restore, up: less than a second
#   samba-dc.sh status    up or down (exit code 3), and how to reach it
#   samba-dc.sh destroy   down, and delete the directory
#
# Needs root: the ports 389, 636, 3268 and 3269 are fixed in Samba, and files belong to root. Every address of
# 127.0.0.0/8 answers without configuration, so each server takes an address of its own. Apart from the
# packages nothing outside DC_DIR and DC_CACHE is written.
set -euo pipefail
umask 077   # the state holds password hashes, and the secrets passwords

DC_DIR=${DC_DIR:-$PWD/.samba-dc}                 # state, certificates, secrets, logs
DC_CACHE=${DC_CACHE:-}                           # optional directory that keeps empty domains, by realm
DC_ADDR=${DC_ADDR:-127.0.0.10}
DC_REALM=${DC_REALM:-CONTOSO.LOCAL}
DC_HOST=${DC_HOST:-dc1}
DC_GUEST_OU=${DC_GUEST_OU:-AAD Guest Users}      # the OU under the domain root that the service account may write
DC_READ_DELETED=${DC_READ_DELETED:-yes}          # yes: the service account sees tombstones
DC_STORE=${DC_STORE:-tdb}                        # mdb for many objects: adding to tdb gets slow with their number
SERVICE_ACCOUNT=svc-vestibule

# bash's own case conversion keeps this independent of the caller's locale
realm=${DC_REALM,,}
domain=${DC_REALM%%.*}
base="DC=${realm//./,DC=}"
state=$DC_DIR/state
tls=$DC_DIR/tls
secrets=$DC_DIR/secrets
conf=$state/etc/smb.conf
sam=$state/private/sam.ldb
packages=(samba samba-dsdb-modules samba-ad-provision samba-vfs-modules ldap-utils ldb-tools openssl)

fail() { echo "samba-dc: $*" >&2; exit 1; }
port_open() { (exec 3<>"/dev/tcp/$DC_ADDR/$1") 2>/dev/null; }
# A process that has ended but was not reaped yet (state Z) counts as gone.
running() { kill -0 "$1" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }
server_pid() { cat "$DC_DIR/samba.pid" 2>/dev/null || true; }
alive() { local pid; pid=$(server_pid); [ -n "$pid" ] && running "$pid" && grep -qa samba "/proc/$pid/cmdline"; }

install() {
  dpkg -s "${packages[@]}" >/dev/null 2>&1 && return 0
  [ "$(id -u)" = 0 ] || fail "installing Samba needs root"
  command -v apt-get >/dev/null || fail "Samba is not installed, and there is no apt-get to install it with"
  local log own_policy=no
  log=$(mktemp)
  # The packages' own units must not start: they would serve the default state directory.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    own_policy=yes
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
  fi
  local get=(apt-get -o DPkg::Lock::Timeout=300) done=no
  export DEBIAN_FRONTEND=noninteractive
  for attempt in as-is updated; do
    [ "$attempt" = as-is ] || "${get[@]}" update >>"$log" 2>&1 || true
    if "${get[@]}" install -y --no-install-recommends "${packages[@]}" >>"$log" 2>&1; then done=yes; break; fi
  done
  [ "$own_policy" = no ] || rm -f /usr/sbin/policy-rc.d
  [ "$done" = yes ] || { tail -5 "$log" >&2; rm -f "$log"; fail "apt-get could not install ${packages[*]}"; }
  rm -f "$log"
}

# A password of four character classes that no policy refuses.
new_password() { echo "Aa1!$(openssl rand -hex 16)"; }

make_secrets() {
  mkdir -p "$secrets"
  chmod 700 "$secrets"
  local name
  for name in administrator "$SERVICE_ACCOUNT"; do
    [ -s "$secrets/$name" ] || (umask 077; printf '%s' "$(new_password)" >"$secrets/$name")
  done
}

# The authority is made once; the server's certificate follows the address, which may differ at each start.
make_certificates() {
  mkdir -p "$tls"
  chmod 700 "$tls"
  local ec=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  [ -s "$tls/ca.pem" ] || openssl req -x509 "${ec[@]}" -days 3650 -subj "/CN=Samba sandbox CA" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$tls/ca.key" -out "$tls/ca.pem" 2>/dev/null
  local names="DNS:$DC_HOST.$realm,DNS:$realm,DNS:localhost,IP:$DC_ADDR"
  if [ -s "$tls/cert.pem" ] && [ "$(cat "$tls/names" 2>/dev/null)" = "$names" ] &&
    openssl x509 -checkend 86400 -noout -in "$tls/cert.pem" >/dev/null; then return 0; fi
  openssl req "${ec[@]}" -subj "/CN=$DC_HOST.$realm" -keyout "$tls/key.pem" -out "$tls/dc.csr" 2>/dev/null
  printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "$names" >"$tls/extensions"
  openssl x509 -req -in "$tls/dc.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 825 \
    -extfile "$tls/extensions" -out "$tls/cert.pem" 2>/dev/null
  chmod 600 "$tls"/*.key "$tls/key.pem"   # Samba refuses a key that others can read
  echo "$names" >"$tls/names"
}

# LDAP only: no file shares, no Kerberos, no DNS. `ldb:nosync` trades durability for speed: test data only.
write_conf() {
  mkdir -p "$state/etc" "$DC_DIR/run" "$DC_DIR/log" "$state/cache" "$state/ncalrpc"
  cat >"$conf" <<CONF
[global]
  netbios name = ${DC_HOST^^}
  realm = ${DC_REALM^^}
  workgroup = ${domain^^}
  server role = active directory domain controller
  server services = ldap
  dcerpc endpoint servers = -winreg -srvsvc
  interfaces = $DC_ADDR/8
  bind interfaces only = yes
  private dir = $state/private
  lock directory = $state
  state directory = $state/state
  cache directory = $state/cache
  binddns dir = $state/bind-dns
  ncalrpc dir = $state/ncalrpc
  pid directory = $DC_DIR/run
  log file = $DC_DIR/log/log.%m
  logging = file
  max log size = 10000
  log level = 1
  tls enabled = yes
  tls keyfile = $tls/key.pem
  tls certfile = $tls/cert.pem
  tls cafile = $tls/ca.pem
  ldap server require strong auth = yes
  idmap_ldb:use rfc2307 = yes
  ldb:nosync = true
CONF
}

# The empty domain takes five seconds to make; with DC_CACHE only the first time for each realm.
provision() {
  rm -rf "$state"
  mkdir -p "$DC_DIR/log"
  local cached=${DC_CACHE:+$DC_CACHE/$realm-$DC_STORE.tar}
  if [ -n "$cached" ] && [ -s "$cached" ]; then
    tar -C "$DC_DIR" -xf "$cached"
    write_conf
    return 0
  fi
  samba-tool domain provision --server-role=dc --use-rfc2307 --dns-backend=NONE \
    --realm="${DC_REALM^^}" --domain="${domain^^}" --host-name="$DC_HOST" --host-ip="$DC_ADDR" \
    --adminpass="$(new_password)" --backend-store="$DC_STORE" --targetdir="$state" --option='ldb:nosync=true' \
    --option="interfaces=$DC_ADDR/8" --option='bind interfaces only=yes' >"$DC_DIR/log/provision.log" 2>&1 ||
    { tail -5 "$DC_DIR/log/provision.log" >&2; fail "the domain could not be provisioned"; }
  write_conf
  if [ -n "$cached" ]; then
    mkdir -p "$DC_CACHE"
    tar -C "$DC_DIR" -cf "$cached.$$" state && mv "$cached.$$" "$cached"
  fi
}

ldb() { local tool=$1; shift; "ldb$tool" -H "$sam" --configfile="$conf" "$@"; }
# attribute_of BASE SCOPE FILTER ATTRIBUTE -> its first value, unfolded
attribute_of() {
  ldb search --show-deleted -b "$1" -s "$2" "$3" "$4" 2>/dev/null | perl -p0e 's/\n //g' | sed -n "s/^$4: //p" | head -1
}
quoted_utf16() { printf '"%s"' "$(cat "$1")" | iconv -f utf-8 -t utf-16le | base64 -w0; }
# grant DN ACES: puts explicit access control entries (SDDL) in front of the object's own. The tools complain
# (`ndr_pull…`) before they see that the value is text: that goes to the log.
grant() {
  local descriptor
  descriptor=$(attribute_of "$1" base '(objectClass=*)' nTSecurityDescriptor)
  printf 'dn: %s\nchangetype: modify\nreplace: nTSecurityDescriptor\nnTSecurityDescriptor: %s\n' "$1" \
    "$(sed "s/^\(.*D:[A-Z]*\)(/\1$2(/" <<<"$descriptor")" | ldb modify --show-deleted >>"$DC_DIR/log/provision.log" 2>&1
}

# What the service account may write on a user: what a flow may set, not what would widen a user's rights
# (servicePrincipalName, msDS-AllowedToDelegateTo, nTSecurityDescriptor, group membership). The directory
# sandbox reads the same file.
read -r -d '' -a writable <"$(dirname "$0")/delegated-attributes.txt" || true   # read ends at the end of the file

# The right to create and delete users in the guest OU, to read them, to write those attributes, to reset
# passwords: for the service account, and nowhere else.
delegate() {
  local guests="OU=$DC_GUEST_OU,$base" users="CN=Users,$base" admin="CN=Administrator,CN=Users,$base"
  ldb add >/dev/null <<LDIF
dn: $guests
objectClass: organizationalUnit

dn: CN=$SERVICE_ACCOUNT,$users
objectClass: user
sAMAccountName: $SERVICE_ACCOUNT
userPrincipalName: $SERVICE_ACCOUNT@$realm
userAccountControl: 66048
unicodePwd:: $(quoted_utf16 "$secrets/$SERVICE_ACCOUNT")
LDIF
  ldb modify >/dev/null <<LDIF
dn: $admin
changetype: modify
replace: unicodePwd
unicodePwd:: $(quoted_utf16 "$secrets/administrator")
-
replace: userAccountControl
userAccountControl: 66048
LDIF
  local sid user=bf967aba-0de6-11d0-a285-00aa003049e2 reset=00299570-246d-11d0-a768-00aa006e0529
  sid=$(attribute_of "$base" sub "(sAMAccountName=$SERVICE_ACCOUNT)" objectSid)
  local filter guid aces
  filter=$(printf '(lDAPDisplayName=%s)' "${writable[@]}")
  aces="(OA;CI;CCDC;$user;;$sid)(OA;CIIO;RP;;$user;$sid)(OA;CIIO;CR;$reset;$user;$sid)"
  for guid in $(ldb search -b "CN=Schema,CN=Configuration,$base" "(|$filter)" schemaIDGUID 2>/dev/null |
    sed -n 's/^schemaIDGUID: //p'); do
    aces+="(OA;CIIO;WP;$guid;$user;$sid)"
  done
  grant "$guests" "$aces"
  # Without this, deletions are invisible to everybody but administrators, in DirSync too.
  [ "$DC_READ_DELETED" != yes ] || grant "CN=Deleted Objects,$base" "(A;CI;LCRPLO;;;$sid)"
}

prepare() {
  install
  mkdir -p "$DC_DIR"
  make_secrets
  make_certificates
  local settings="$realm|$DC_GUEST_OU|$DC_READ_DELETED"
  if [ -s "$DC_DIR/pristine.tar" ]; then
    [ "$(cat "$DC_DIR/settings")" = "$settings" ] ||
      fail "$DC_DIR holds a domain made with other settings ($(cat "$DC_DIR/settings")); use another directory, or destroy it"
    [ -d "$state" ] || restore
  else
    provision
    delegate
    tar -C "$DC_DIR" -cf "$DC_DIR/pristine.tar.new" state
    echo "$settings" >"$DC_DIR/settings"
    mv "$DC_DIR/pristine.tar.new" "$DC_DIR/pristine.tar"
  fi
  write_conf
}

restore() {
  local unpacked=$DC_DIR/unpacked   # complete before it takes the place of the state
  rm -rf "$state" "$unpacked"
  mkdir "$unpacked"
  tar -C "$unpacked" -xf "$DC_DIR/pristine.tar"
  mv "$unpacked/state" "$state"
  rmdir "$unpacked"
  write_conf
}

run() {
  echo $$ >"$DC_DIR/samba.pid"   # exec keeps the process id
  exec samba -F --no-process-group -M single -s "$conf"
}

start() {
  write_conf
  setsid bash "$0" run </dev/null >"$DC_DIR/log/samba.out" 2>&1 &
  local child=$!
  for _ in $(seq 1 600); do
    port_open 636 && return 0
    running "$child" || { tail -5 "$DC_DIR/log/samba.out" >&2; fail "the server ended at its start"; }
    sleep 0.05
  done
  fail "no LDAPS on $DC_ADDR:636 after 30 s"
}

stop() { # stop [SIGNAL]
  alive || return 0
  local pid
  pid=$(server_pid)
  kill "-${1:-TERM}" "$pid"
  for _ in $(seq 1 200); do running "$pid" || break; sleep 0.05; done
  running "$pid" && kill -KILL "$pid"
  for _ in $(seq 1 100); do port_open 636 || break; sleep 0.05; done
  rm -f "$DC_DIR/samba.pid"
}

info() {
  echo "url=ldaps://$DC_ADDR:636"
  echo "ca=$tls/ca.pem"
  echo "serverName=$DC_HOST.$realm"
  echo "base=$base"
  echo "guestOu=OU=$DC_GUEST_OU,$base"
  echo "admin=Administrator@$realm (password in $secrets/administrator)"
  echo "service=$SERVICE_ACCOUNT@$realm (password in $secrets/$SERVICE_ACCOUNT)"
}

case "${1:-}" in
  install) install ;;
  prepare) prepare ;;
  run) run ;;
  up) alive || { prepare; start; }; info ;;
  down) stop ;;
  restore) restore ;;
  reset) stop KILL; restore; start ;;
  status) if alive; then echo up; info; else echo down; exit 3; fi ;;
  destroy) stop KILL; rm -rf "$DC_DIR" ;;
  *) echo "usage: $0 install|prepare|run|up|down|restore|reset|status|destroy" >&2; exit 2 ;;
esac
