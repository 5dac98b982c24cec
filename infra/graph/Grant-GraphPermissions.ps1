<#
.SYNOPSIS
  Gives Vestibule's managed identity its Microsoft Graph application permissions.
.DESCRIPTION
  Graph permissions of a managed identity cannot be given in the portal. Run by a Privileged Role Administrator (or with
  AppRoleAssignment.ReadWrite.All and Application.Read.All). Giving what is there already changes nothing.
  -WhatIf shows what would be given.
.PARAMETER PrincipalId
  Object id of the managed identity; default: what azd provisioned (VESTIBULE_PRINCIPAL_ID).
.PARAMETER Permission
  Reading guests needs User.Read.All. GroupMember.Read.All only if a connector's scope names groups, Group.Read.All if it
  imports groups. docs/connectors.md lists what exports need.
.PARAMETER Environment
  The cloud: Global, USGov, USGovDoD or China.
.EXAMPLE
  ./Grant-GraphPermissions.ps1 -PrincipalId 3f0c… -Permission User.Read.All, GroupMember.Read.All
#>
[CmdletBinding(SupportsShouldProcess)]
param(
  [ValidateNotNullOrEmpty()] [string] $PrincipalId = $env:VESTIBULE_PRINCIPAL_ID,
  [string[]] $Permission = @('User.Read.All'),
  [ValidateSet('Global', 'USGov', 'USGovDoD', 'China')] [string] $Environment = 'Global'
)
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version Latest

foreach ($module in 'Microsoft.Graph.Authentication', 'Microsoft.Graph.Applications') {
  if (-not (Get-Module -ListAvailable $module)) {
    throw "PowerShell module $module is missing. Install it: Install-Module $module -Scope CurrentUser"
  }
}
Connect-MgGraph -Environment $Environment -Scopes 'AppRoleAssignment.ReadWrite.All', 'Application.Read.All' -NoWelcome

# The application id of Microsoft Graph is the same in every cloud.
$graph = Get-MgServicePrincipal -Filter "appId eq '00000003-0000-0000-c000-000000000000'"
$given = @(Get-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $PrincipalId -All |
  Where-Object ResourceId -EQ $graph.Id | ForEach-Object AppRoleId)

foreach ($name in $Permission) {
  $role = $graph.AppRoles | Where-Object { $_.Value -eq $name -and $_.AllowedMemberTypes -contains 'Application' }
  if (-not $role) { throw "Microsoft Graph has no application permission '$name'." }
  if ($given -contains $role.Id) { Write-Host "$name is given already."; continue }
  if ($PSCmdlet.ShouldProcess($PrincipalId, "give $name")) {
    $assignment = @{ PrincipalId = $PrincipalId; ResourceId = $graph.Id; AppRoleId = $role.Id }
    New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $PrincipalId -BodyParameter $assignment | Out-Null
    Write-Host "$name is given."
  }
}
