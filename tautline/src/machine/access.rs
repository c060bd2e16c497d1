//! Who may read a file of keys on Windows: its access list. Unix has modes, which need no code of ours.
//!
//! Only `config` uses it. The rest of `machine` imports `config`, so this file imports nothing of the library.
#![allow(unsafe_code)] // no safe wrapper offers it

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{
    ERROR_SUCCESS, GENERIC_ALL, GENERIC_READ, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE, LocalFree,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo,
    SDDL_REVISION_1, SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, DACL_SECURITY_INFORMATION, EqualSid, GetAce, GetTokenInformation,
    INHERIT_ONLY_ACE, IsWellKnownSid, LookupAccountSidW, OWNER_SECURITY_INFORMATION, PSID,
    SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser, WELL_KNOWN_SID_TYPE,
    WinBuiltinAdministratorsSid, WinCreatorOwnerRightsSid, WinLocalSystemSid,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateFileW, FILE_APPEND_DATA, FILE_ATTRIBUTE_NORMAL, FILE_READ_DATA, FILE_SHARE_READ,
    FILE_WRITE_DATA, WRITE_DAC, WRITE_OWNER,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// The accounts that may read the file in any case: the system, its administrators, and the file's owner.
const MAY_ALWAYS: [WELL_KNOWN_SID_TYPE; 3] =
    [WinLocalSystemSid, WinBuiltinAdministratorsSid, WinCreatorOwnerRightsSid];

/// The rights that give the key away, or let its reader change who has them.
const RIGHTS: u32 = FILE_READ_DATA
    | FILE_WRITE_DATA
    | FILE_APPEND_DATA
    | WRITE_DAC
    | WRITE_OWNER
    | GENERIC_ALL
    | GENERIC_READ
    | GENERIC_WRITE;

/// The entries that allow something, plainly or on a condition (ACCESS_ALLOWED_ACE_TYPE, ACCESS_ALLOWED_CALLBACK_ACE_TYPE).
const ALLOWS: [u8; 2] = [0, 9];

/// Memory that the system has allocated.
struct Local(*mut c_void);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: the system has allocated it for this process, and nothing else frees it.
        unsafe { LocalFree(self.0) };
    }
}

fn succeeded(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The first account that may read or change the file, beside its owner, the user of this process, and administrators.
pub(crate) fn another_reader(file: &File) -> io::Result<Option<String>> {
    let (mut owner, mut list, mut descriptor): (PSID, *mut ACL, *mut c_void) =
        (null_mut(), null_mut(), null_mut());
    // SAFETY: the file is open. The system writes to the three pointers.
    let result = unsafe {
        GetSecurityInfo(
            file.as_raw_handle(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
            &raw mut owner,
            null_mut(),
            &raw mut list,
            null_mut(),
            &raw mut descriptor,
        )
    };
    if result != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(result.cast_signed()));
    }
    // Owner and list point into it.
    let _descriptor = Local(descriptor);
    if list.is_null() {
        // Without a list, everybody has access.
        return Ok(Some("Everyone".to_owned()));
    }
    let user = User::of_this_process()?;
    // SAFETY: the list lives as long as the descriptor.
    let count = unsafe { (*list).AceCount };
    for index in 0..count.into() {
        let mut entry: *mut c_void = null_mut();
        // SAFETY: the list lives, and has an entry of this index.
        succeeded(unsafe { GetAce(list, index, &raw mut entry) })?;
        // SAFETY: every entry begins with a head.
        let head = unsafe { entry.cast::<ACE_HEADER>().read() };
        if !ALLOWS.contains(&head.AceType) || u32::from(head.AceFlags) & INHERIT_ONLY_ACE != 0 {
            continue;
        }
        let entry = entry.cast::<ACCESS_ALLOWED_ACE>();
        // SAFETY: both types of entries begin like this one. The identifier begins at its last field.
        let (mask, sid): (u32, PSID) = unsafe { ((*entry).Mask, (&raw mut (*entry).SidStart).cast()) };
        // SAFETY: the three identifiers are valid, and live as long as the descriptor and `user`.
        let may = unsafe {
            EqualSid(sid, owner) != 0
                || EqualSid(sid, user.sid()) != 0
                || MAY_ALWAYS.iter().any(|kind| IsWellKnownSid(sid, *kind) != 0)
        };
        if mask & RIGHTS != 0 && !may {
            return Ok(Some(name_of(sid)));
        }
    }
    Ok(None)
}

/// Creates a file that only the user of this process and administrators can read, and opens it for writing.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let user = text_of(User::of_this_process()?.sid())?;
    create_for(path, &format!("D:P(A;;FA;;;{user})(A;;FA;;;SY)(A;;FA;;;BA)"))
}

/// As [`create`], with an access list as text (SDDL).
fn create_for(path: &Path, list: &str) -> io::Result<File> {
    let list: Vec<u16> = list.encode_utf16().chain([0]).collect();
    let mut descriptor: *mut c_void = null_mut();
    // SAFETY: the text ends with 0. The system writes to `descriptor`.
    succeeded(unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            list.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            null_mut(),
        )
    })?;
    let descriptor = Local(descriptor);
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor.0,
        bInheritHandle: 0,
    };
    let name: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
    // SAFETY: name and attributes live until the call returns. The name ends with 0.
    let handle = unsafe {
        CreateFileW(
            name.as_ptr(),
            GENERIC_WRITE,
            FILE_SHARE_READ,
            &raw const attributes,
            CREATE_NEW,
            FILE_ATTRIBUTE_NORMAL,
            null_mut(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle was opened here, and nothing else owns it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// The user of this process.
struct User(Vec<u64>);

impl User {
    fn of_this_process() -> io::Result<Self> {
        let mut token: HANDLE = null_mut();
        // SAFETY: the handle stands for this process. The system writes to `token`.
        succeeded(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) })?;
        // SAFETY: the handle was opened here, and nothing else owns it.
        let token = unsafe { OwnedHandle::from_raw_handle(token) };
        // An identifier has at most 68 bytes.
        let (mut room, mut len) = (vec![0u64; 16], 0);
        // SAFETY: pointer and length describe the room, which is aligned and borrowed for writing.
        succeeded(unsafe {
            GetTokenInformation(
                token.as_raw_handle(),
                TokenUser,
                room.as_mut_ptr().cast(),
                size_of_val(&*room) as u32,
                &raw mut len,
            )
        })?;
        Ok(Self(room))
    }

    fn sid(&self) -> PSID {
        // SAFETY: the system has written this type there. It points into the room, whose heap memory does not move.
        unsafe { (*self.0.as_ptr().cast::<TOKEN_USER>()).User.Sid }
    }
}

/// The name of an account, or its number if it has no name here.
fn name_of(sid: PSID) -> String {
    const MOST: usize = 256;
    let (mut name, mut domain) = ([0u16; MOST], [0u16; MOST]);
    let (mut name_len, mut domain_len, mut kind) = (MOST as u32, MOST as u32, 0);
    // SAFETY: the identifier is valid. Pointers and lengths describe the two texts.
    let found = unsafe {
        LookupAccountSidW(
            null(),
            sid,
            name.as_mut_ptr(),
            &raw mut name_len,
            domain.as_mut_ptr(),
            &raw mut domain_len,
            &raw mut kind,
        )
    };
    if found == 0 {
        return text_of(sid).unwrap_or_else(|_| "an unknown account".to_owned());
    }
    String::from_utf16_lossy(&name[..(name_len as usize).min(MOST)])
}

/// An identifier as text: S-1-5-...
fn text_of(sid: PSID) -> io::Result<String> {
    let mut text: *mut u16 = null_mut();
    // SAFETY: the identifier is valid. The system writes to `text`.
    succeeded(unsafe { ConvertSidToStringSidW(sid, &raw mut text) })?;
    let _freed = Local(text.cast());
    // SAFETY: the text ends with 0, and lives until it is freed.
    let len = (0..).take_while(|&at| unsafe { *text.add(at) } != 0).count();
    // SAFETY: as above.
    Ok(String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, len) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_for_its_user_alone_or_the_other_reader_is_named() {
        let folder = std::env::temp_dir().join(format!("tautline-access-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let own = create(&folder.join("own.key")).unwrap();
        assert_eq!(another_reader(&own).unwrap(), None);
        assert_eq!(create(&folder.join("own.key")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // Everyone may read (WD), the user may do all.
        let user = text_of(User::of_this_process().unwrap().sid()).unwrap();
        let list = format!("D:P(A;;FA;;;{user})(A;;FR;;;WD)");
        let open = create_for(&folder.join("open.key"), &list).unwrap();
        assert_eq!(another_reader(&open).unwrap().as_deref(), Some("Everyone"), "in English");
        drop((own, open));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
