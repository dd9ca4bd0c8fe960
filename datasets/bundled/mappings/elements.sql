-- The table of elements with the melting and boiling points and the first ionization energies of two others. Of elements with several allotropes the
-- one counts that `density` speaks of; points of transition from one solid to another are no melting points.
SELECT e.*, t.melting_point, t.boiling_point, t.allotrope, i.ionization_energy
FROM elements e
LEFT JOIN phasetransitions t ON t.id = (
    SELECT p.id FROM phasetransitions p
    WHERE p.atomic_number = e.atomic_number AND coalesce(p.is_transition, 0) = 0 AND coalesce(p.is_sublimation_point, 0) = 0
    ORDER BY CASE p.allotrope WHEN 'graphite' THEN 0 WHEN 'white' THEN 0 WHEN 'gray' THEN 0 WHEN 'monoclinic' THEN 0 ELSE 1 END, p.id
    LIMIT 1)
LEFT JOIN ionizationenergies i ON i.atomic_number = e.atomic_number AND i.ion_charge = 0
ORDER BY e.atomic_number;
