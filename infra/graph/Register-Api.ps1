<#
.SYNOPSIS
  Registers Vestibule's HTTP API in Entra ID with its app roles, and prints the client id for VESTIBULE_API_CLIENT_ID.
.DESCRIPTION
  Roles: Reader looks, Operator also runs, Approver also decides on held exports, Administrator also changes rules and
  schedule. They are the ones of infra/names.json, which the code enforces. Only people and apps with a role get a token;
  people get theirs with the Azure CLI or Azure PowerShell (scope user_impersonation), without being asked for consent.
  Running it again changes nothing that is there.
.PARAMETER Environment
  The cloud: Global, USGov, USGovDoD or China.
.EXAMPLE
  azd env set VESTIBULE_API_CLIENT_ID $(./Register-Api.ps1)
#>
[CmdletBinding(SupportsShouldProcess)]
param(
  [string] $DisplayName = 'Vestibule API',
  [ValidateSet('Global', 'USGov', 'USGovDoD', 'China')] [string] $Environment = 'Global'
)
$ErrorActionPreference = 'Stop'
Set-StrictMode -Version Latest

Connect-MgGraph -Environment $Environment -Scopes 'Application.ReadWrite.All' -NoWelcome
$names = Get-Content (Join-Path $PSScriptRoot '../names.json') -Raw | ConvertFrom-Json
$found = @(Get-MgApplication -Filter "displayName eq '$($DisplayName -replace "'", "''")'")
if ($found.Count -gt 1) { throw "There are $($found.Count) app registrations named '$DisplayName'. Give another -DisplayName." }
if ($found.Count -eq 1) { $application = $found[0] }
elseif ($PSCmdlet.ShouldProcess($DisplayName, 'register')) {
  $application = New-MgApplication -DisplayName $DisplayName -SignInAudience AzureADMyOrg
}
else { return }

$roles = @($application.AppRoles)
foreach ($value in $names.appRoles) {
  if ($roles | Where-Object Value -EQ $value) { continue }
  $roles += @{
    Id = [guid]::NewGuid(); Value = $value; IsEnabled = $true
    DisplayName = $value; Description = "Vestibule: $($value -replace '.*\.', '')"
    AllowedMemberTypes = @('User', 'Application')
  }
}
$scopes = @($application.Api.Oauth2PermissionScopes)
if (-not ($scopes | Where-Object Value -EQ 'user_impersonation')) {
  $scopes += @{
    Id = [guid]::NewGuid(); Value = 'user_impersonation'; Type = 'User'; IsEnabled = $true
    AdminConsentDisplayName = 'Use Vestibule'; AdminConsentDescription = 'Use Vestibule with the roles that one has.'
    UserConsentDisplayName = 'Use Vestibule'; UserConsentDescription = 'Use Vestibule with the roles that one has.'
  }
}
$scope = ($scopes | Where-Object Value -EQ 'user_impersonation').Id
# The Azure CLI and Azure PowerShell, as Microsoft has registered them in every tenant, beside whom somebody has let in.
$known = @($application.Api.PreAuthorizedApplications | Where-Object { $_ } |
  ForEach-Object { @{ AppId = $_.AppId; DelegatedPermissionIds = @($_.DelegatedPermissionIds) } })
$clients = @('04b07795-8ddb-461a-bbee-02f9e1bf7b46', '1950a258-227b-4e31-a9cf-717495945fc2' |
  Where-Object { $_ -notin @($known | ForEach-Object { $_.AppId }) } |
  ForEach-Object { @{ AppId = $_; DelegatedPermissionIds = @("$scope") } })
$api = @{ RequestedAccessTokenVersion = 2; Oauth2PermissionScopes = $scopes }
if ($PSCmdlet.ShouldProcess($DisplayName, 'set app roles and scope')) {
  Update-MgApplication -ApplicationId $application.Id -AppRoles $roles -IdentifierUris @("api://$($application.AppId)") `
    -Api $api
  # Entra ID takes clients only for a scope that is there already.
  Update-MgApplication -ApplicationId $application.Id -Api ($api + @{ PreAuthorizedApplications = $known + $clients })
  $principal = Get-MgServicePrincipal -Filter "appId eq '$($application.AppId)'"
  if (-not $principal) { $principal = New-MgServicePrincipal -AppId $application.AppId }
  Update-MgServicePrincipal -ServicePrincipalId $principal.Id -AppRoleAssignmentRequired:$true
}
$application.AppId
