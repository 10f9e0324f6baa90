"""Two ionic steps of silicon as VASP writes them: free energies -10.5 and -11.5 eV, 0.1 more without smearing."""

_HEAD = """ vasp.5.4.4.18Apr17-6-g9f103f2a35 (build) complex

 executed on             LinuxIFC date 2026.01.01  00:00:00
 POTCAR:    PAW_PBE Si 05Jan2001
 POTCAR:    PAW_PBE Si 05Jan2001
   VRHFIN =Si: s2p2
   ISPIN  =      1    spin polarized calculation?
   ions per type =               2
   NELECT =       8.0000    total number of electrons
"""
_STEP = """
--------------------------------------- Ionic step        {step}  -------------------------------------------
--------------------------------------- Iteration      {step}(   1)  ---------------------------------------
  FORCE on cell =-STRESS in cart. coord.  units (eV):
  Direction    XX          YY          ZZ          XY          YZ          ZX
  in kB      {stress}
  external pressure =       -3.33 kB  Pullay stress =        0.00 kB

 VOLUME and BASIS-vectors are now :
 -----------------------------------------------------------------------------
  energy-cutoff  :      300.00
  volume of cell :       40.03
      direct lattice vectors                 reciprocal lattice vectors
     0.000000000  2.715000000  2.715000000    -0.184162063  0.184162063  0.184162063
     2.715000000  0.000000000  2.715000000     0.184162063 -0.184162063  0.184162063
     2.715000000  2.715000000  0.000000000     0.184162063  0.184162063 -0.184162063

  length of vectors

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.00000      0.00000      0.00000         0.100000     -0.200000      0.300000
      1.35750      1.35750      {x}        -0.100000      0.200000     -0.300000
 -----------------------------------------------------------------------------------
    total drift:                                0.000000      0.000000      0.000000

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       {free:.8f} eV

  energy  without entropy=      {without:.8f}  energy(sigma->0) =      {zero:.8f}
"""
_CALCULATION = """ <calculation>
  <scstep>
   <energy>
    <i name="e_fr_energy">     {free:.8f} </i>
    <i name="e_wo_entrp">     {without:.8f} </i>
    <i name="e_0_energy">     {zero:.8f} </i>
   </energy>
  </scstep>
  <structure>
   <crystal>
    <varray name="basis" >
     <v>       0.00000000       2.71500000       2.71500000 </v>
     <v>       2.71500000       0.00000000       2.71500000 </v>
     <v>       2.71500000       2.71500000       0.00000000 </v>
    </varray>
    <i name="volume">     40.02575175 </i>
   </crystal>
   <varray name="positions" >
    <v>       0.00000000       0.00000000       0.00000000 </v>
    <v>       0.25000000       0.25000000       {x} </v>
   </varray>
  </structure>
  <varray name="forces" >
   <v>       0.10000000      -0.20000000       0.30000000 </v>
   <v>      -0.10000000       0.20000000      -0.30000000 </v>
  </varray>
  <varray name="stress" >
   <v>       1.00000000       4.00000000       6.00000000 </v>
   <v>       4.00000000       2.00000000       5.00000000 </v>
   <v>       6.00000000       5.00000000       3.00000000 </v>
  </varray>
  <energy>
   <i name="e_fr_energy">     {free:.8f} </i>
   <i name="e_wo_entrp">     {without:.8f} </i>
   <i name="e_0_energy">     {zero:.8f} </i>
  </energy>
 </calculation>
"""
_XML_HEAD = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">5.4.4  </i>
 </generator>
 <kpoints>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
  <varray name="weights" >
   <v>       1.00000000 </v>
  </varray>
 </kpoints>
 <atominfo>
  <atoms>       2 </atoms>
  <types>       1 </types>
  <array name="atoms" >
   <dimension dim="1">ion</dimension>
   <field type="string">element</field>
   <field type="int">atomtype</field>
   <set>
    <rc><c>Si</c><c>   1</c></rc>
    <rc><c>Si</c><c>   1</c></rc>
   </set>
  </array>
 </atominfo>
 <structure name="initialpos" >
  <crystal>
   <varray name="basis" >
    <v>       0.00000000       2.71500000       2.71500000 </v>
    <v>       2.71500000       0.00000000       2.71500000 </v>
    <v>       2.71500000       2.71500000       0.00000000 </v>
   </varray>
  </crystal>
  <varray name="positions" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
   <v>       0.25000000       0.25000000       0.25000000 </v>
  </varray>
 </structure>
"""
_STRESS = "1.00000     2.00000     3.00000     4.00000     5.00000     6.00000"
_ENERGIES = [{"free": -10.5 - step, "without": -10.3 - step, "zero": -10.4 - step} for step in range(2)]
OUTCAR = _HEAD + "".join(
    _STEP.format(step=step + 1, stress=_STRESS, x=f"{1.3575 + 0.05 * step:.5f}", **energies)
    for step, energies in enumerate(_ENERGIES)
)
VASPRUN = (
    _XML_HEAD
    + "".join(_CALCULATION.format(x=f"{0.25 + 0.01 * step:.8f}", **energies) for step, energies in enumerate(_ENERGIES))
    + "</modeling>\n"
)
