<#
.SYNOPSIS
  Delegates to Vestibule's service account exactly what it needs on one organisational unit, and nothing elsewhere.
.DESCRIPTION
  On the unit: create and delete objects of the given types, read them, write the given attributes, and reset passwords.
  Not granted, on purpose: full control, permissions and ownership, servicePrincipalName, msDS-AllowedToDelegateTo, and
  anything outside of the unit. Entries that are there already are not added twice. -WhatIf shows what would be added;
  -Remove takes away every entry of the account on the unit. Run by someone who may change the unit's permissions.
  `vestibule doctor` proves the result.
.PARAMETER Account
  The service account, as DOMAIN\name or a SID.
.PARAMETER OrganizationalUnit
  DN of the unit of the guests' accounts (GUEST_OU).
.PARAMETER Attribute
  Attributes that flows write. The default is what sandbox/samba/delegated-attributes.txt lists, which the tests grant.
.PARAMETER ObjectClass
  Types of objects; group needs its own attributes (member, groupType) in -Attribute.
.PARAMETER DenyLogonGroup
  DN of the group whose members may not log on (DENY_LOGON_GROUP): the account may write its members, nothing else of it.
.PARAMETER ReadDeletedObjects
  Also lets the account list the Deleted Objects container, so that delta imports see deletions. Needs a Domain Admin.
.EXAMPLE
  ./Grant-VestibuleRights.ps1 -Account CORP\svc-vestibule -OrganizationalUnit 'OU=Guests,DC=corp,DC=example' -ReadDeletedObjects
#>
[CmdletBinding(SupportsShouldProcess)]
param(
  [Parameter(Mandatory)] [ValidateNotNullOrEmpty()] [string] $Account,
  [Parameter(Mandatory)] [ValidatePattern('^OU=')] [string] $OrganizationalUnit,
  [string[]] $Attribute,
  [string[]] $ObjectClass = @('user'),
  [ValidatePattern('^CN=')] [string] $DenyLogonGroup,
  [switch] $ReadDeletedObjects,
  [switch] $Remove
)
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version Latest

if (-not (Get-Module -ListAvailable ActiveDirectory)) {
  throw 'The PowerShell module ActiveDirectory is missing. Install the AD DS tools (RSAT).'
}
Import-Module ActiveDirectory
if (-not $Attribute) {
  $list = Join-Path $PSScriptRoot '../../sandbox/samba/delegated-attributes.txt'
  if (-not (Test-Path $list)) { throw 'Name the attributes that flows write: -Attribute displayName, mail, …' }
  $Attribute = (Get-Content -Raw $list) -split '\s+' | Where-Object { $_ }
}
$forbidden = 'servicePrincipalName', 'msDS-AllowedToDelegateTo', 'nTSecurityDescriptor', 'sIDHistory', 'memberOf'
$tooMuch = @($Attribute | Where-Object { $_ -in $forbidden })
if ($tooMuch) { throw "These attributes would widen what an account may do, and are not delegated: $($tooMuch -join ', ')" }

$sid = if ($Account -match '^S-1-') { [System.Security.Principal.SecurityIdentifier] $Account }
       else { ([System.Security.Principal.NTAccount] $Account).Translate([System.Security.Principal.SecurityIdentifier]) }
$schema = (Get-ADRootDSE).schemaNamingContext

function Get-SchemaGuid([string] $Name) {
  $found = Get-ADObject -SearchBase $schema -LDAPFilter "(lDAPDisplayName=$Name)" -Properties schemaIDGUID
  if (-not $found) { throw "The directory's schema has no $Name." }
  [guid] $found.schemaIDGUID
}

# Users and inetOrgPersons have passwords; the extended right User-Force-Change-Password resets them.
$resetPassword = [guid] '00299570-246d-11d0-a768-00aa006e0529'
$rights = [System.DirectoryServices.ActiveDirectoryRights]
$allow = [System.Security.AccessControl.AccessControlType]::Allow
$below = [System.DirectoryServices.ActiveDirectorySecurityInheritance]::Descendents
$everywhere = [System.DirectoryServices.ActiveDirectorySecurityInheritance]::All

function New-Rule($Right, [guid] $Of, $Inheritance, [guid] $On = [guid]::Empty) {
  [System.DirectoryServices.ActiveDirectoryAccessRule]::new($sid, $Right, $allow, $Of, $Inheritance, $On)
}

$rules = foreach ($class in $ObjectClass) {
  $type = Get-SchemaGuid $class
  New-Rule ($rights::CreateChild -bor $rights::DeleteChild) $type $everywhere
  New-Rule $rights::ReadProperty ([guid]::Empty) $below $type
  foreach ($name in $Attribute) { New-Rule $rights::WriteProperty (Get-SchemaGuid $name) $below $type }
  if ($class -in 'user', 'inetOrgPerson') { New-Rule $rights::ExtendedRight $resetPassword $below $type }
}

if ($Remove) {
  foreach ($dn in @($OrganizationalUnit, $DenyLogonGroup) | Where-Object { $_ }) {
    if ($PSCmdlet.ShouldProcess($dn, "take every right from $Account")) {
      $acl = Get-Acl "AD:\$dn"
      $acl.PurgeAccessRules($sid)
      Set-Acl "AD:\$dn" $acl
    }
  }
  return
}
$path = "AD:\$OrganizationalUnit"
$acl = Get-Acl $path
if ($PSCmdlet.ShouldProcess($OrganizationalUnit, "give $Account $(@($rules).Count) rights")) {
  foreach ($rule in $rules) { $acl.AddAccessRule($rule) }
  Set-Acl $path $acl
  Write-Host "$Account may create, delete and write $($ObjectClass -join ', ') in $OrganizationalUnit."
}

if ($DenyLogonGroup -and $PSCmdlet.ShouldProcess($DenyLogonGroup, "let $Account write its members")) {
  $acl = Get-Acl "AD:\$DenyLogonGroup"
  $here = [System.DirectoryServices.ActiveDirectorySecurityInheritance]::None
  $acl.AddAccessRule((New-Rule $rights::WriteProperty (Get-SchemaGuid 'member') $here))
  Set-Acl "AD:\$DenyLogonGroup" $acl
  Write-Host "$Account may write the members of $DenyLogonGroup."
}

if ($ReadDeletedObjects) {
  $container = "CN=Deleted Objects,$((Get-ADDomain).DistinguishedName)"
  if ($PSCmdlet.ShouldProcess($container, "let $Account list and read it")) {
    # The container's permissions can be changed by its owner only, so a Domain Admin takes it first.
    dsacls $container /takeownership | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "The ownership of $container could not be taken; run this as a Domain Admin." }
    dsacls $container /G "${Account}:LCRP" | Out-Null
    if ($LASTEXITCODE -ne 0) { throw "The right on $container could not be given." }
    Write-Host "$Account sees deleted objects."
  }
}
